"""Looking at what is being recorded, without anybody who records knowing: nothing is consumed, held up or written."""
