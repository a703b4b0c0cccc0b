-- A process is killed for one attempt. If that ends by itself at the last moment and is followed by another, the next
-- worker that is lost was not killed for it.

alter table command_stops add column killed_attempt integer;
alter table command_stops drop column killed;
