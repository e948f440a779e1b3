-- +goose Up
ALTER TABLE audit_events
    ADD CONSTRAINT audit_events_category CHECK (event_category IN (
        'gateway', 'notification', 'analysis', 'signalprocessing', 'workflow', 'execution', 'orchestration')),
    ADD CONSTRAINT audit_events_outcome CHECK (event_outcome IN ('success', 'failure', 'pending')),
    ADD CONSTRAINT audit_events_object CHECK (jsonb_typeof(event_data) = 'object');
INSERT INTO schema_version (version) VALUES (9);

-- +goose Down
DELETE FROM schema_version WHERE version = 9;
ALTER TABLE audit_events
    DROP CONSTRAINT audit_events_object,
    DROP CONSTRAINT audit_events_outcome,
    DROP CONSTRAINT audit_events_category;
