"""Whether a record is what it says: measured again, compared with another, trained again."""
