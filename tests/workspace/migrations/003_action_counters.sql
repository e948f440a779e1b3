CREATE FUNCTION count_action() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE action_histories
       SET total_actions = total_actions + 1,
           last_action_at = greatest(last_action_at, NEW.action_timestamp)
     WHERE id = NEW.action_history_id;
    RETURN NEW;
END;
$$;

CREATE TRIGGER action_traces_count
    AFTER INSERT ON action_traces
    FOR EACH ROW EXECUTE FUNCTION count_action();

INSERT INTO schema_version (version) VALUES (3);
