"""The Imperial Bureau of Statistics: the document, and the servers that hand it out."""
