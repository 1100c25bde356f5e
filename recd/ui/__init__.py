"""A web page that shows what is being recorded and what was, served by a process of its own."""
