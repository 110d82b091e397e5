"""What programs that are not uWSGI are given: listening sockets, somebody to notify, a log."""
