"""Where pictures come from: search engines, lists of addresses, a person's folders, drawings."""
