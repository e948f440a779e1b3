-- +goose Up
-- From last month to three months ahead, and no default partition: an event of
-- any other month is refused until somebody adds a partition for it.
-- +goose StatementBegin
DO $$
DECLARE
    this_month constant date := date_trunc('month', now() AT TIME ZONE 'UTC');
    month date;
BEGIN
    FOR step IN -1..3 LOOP
        month := this_month + make_interval(months => step);
        EXECUTE format(
            'CREATE TABLE %I PARTITION OF audit_events FOR VALUES FROM (%L) TO (%L)',
            'audit_events_' || to_char(month, 'YYYY_MM'),
            month || ' 00:00:00+00',
            (month + interval '1 month')::date || ' 00:00:00+00');
    END LOOP;
END;
$$;
-- +goose StatementEnd

INSERT INTO schema_version (version) VALUES (7);

-- +goose Down
DELETE FROM schema_version WHERE version = 7;
-- +goose StatementBegin
DO $$
DECLARE
    partition regclass;
BEGIN
    FOR partition IN SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'audit_events'::regclass LOOP
        EXECUTE format('DROP TABLE %s', partition);
    END LOOP;
END;
$$;
-- +goose StatementEnd
