-- +goose NO TRANSACTION
-- +goose Up
CREATE INDEX CONCURRENTLY action_traces_by_type ON action_traces (action_type, action_timestamp DESC);
INSERT INTO schema_version (version) VALUES (5);

-- +goose Down
DELETE FROM schema_version WHERE version = 5;
DROP INDEX CONCURRENTLY action_traces_by_type;
