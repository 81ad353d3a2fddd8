"""Where rows go, one system a file."""
