"""The same work done by this series and by its peers, measured side by side."""
