-- +goose Up
ALTER TABLE workflow_catalog ADD COLUMN embedding vector(384);
CREATE INDEX workflow_catalog_embedding ON workflow_catalog USING hnsw (embedding vector_cosine_ops);
INSERT INTO schema_version (version) VALUES (1000);

-- +goose Down
DELETE FROM schema_version WHERE version = 1000;
ALTER TABLE workflow_catalog DROP COLUMN embedding;
