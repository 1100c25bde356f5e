"""What is being recorded, live in other people's viewers: the Foxglove WebSocket protocol, served by foxglove-sdk."""
