"""When things are due: zones, cron, intervals, what to do with due times that passed. Reads no clock and no table."""
