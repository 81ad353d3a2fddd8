"""Where rows come from; the observers are re-exported here."""
