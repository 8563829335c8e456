"""A FastMCP server whose tools run as tasks on workers, as the caller who asked, to be copied.

======  ===================================================
server  the server; workers load the same file
client  a caller: gets a token, calls tools, prints answers
======  ===================================================
"""
