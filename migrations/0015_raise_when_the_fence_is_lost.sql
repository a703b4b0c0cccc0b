-- Effects of a step, its ledger row and the commit are sent together: what is written for an execution has to fail by
-- itself where its fence does not hold, so that the commit after it undoes the effect.

create function fence_lost() returns uuid language plpgsql as $$
begin
    raise exception using errcode = 'WF001', message = 'the execution is no longer held';
end
$$;
