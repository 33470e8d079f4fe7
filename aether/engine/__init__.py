"""The line of stations that a delivery runs along: receive, route, assign, execute, answer."""
