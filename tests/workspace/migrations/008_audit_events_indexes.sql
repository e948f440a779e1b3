-- +goose Up
-- CONCURRENTLY is not allowed on a partitioned table; it was empty when this ran.
CREATE INDEX audit_events_correlation ON audit_events (correlation_id, event_timestamp DESC);
CREATE INDEX audit_events_type ON audit_events (event_type, event_timestamp DESC);
CREATE INDEX audit_events_data ON audit_events USING gin (event_data jsonb_path_ops);
INSERT INTO schema_version (version) VALUES (8);

-- +goose Down
DELETE FROM schema_version WHERE version = 8;
DROP INDEX audit_events_data;
DROP INDEX audit_events_type;
DROP INDEX audit_events_correlation;
