"""From records to pages and figures."""
