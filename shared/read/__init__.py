"""Reading: from one work item to one committed page, and from a closed chain of pages to a verdict."""
