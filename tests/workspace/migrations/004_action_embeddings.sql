-- pgvector: the server's package must have it; a plain postgres image fails here.
CREATE EXTENSION vector;

CREATE TABLE action_embeddings (
    action_trace_id bigint      PRIMARY KEY REFERENCES action_traces (id) ON DELETE CASCADE,
    model           varchar(64) NOT NULL,
    embedding       vector(384) NOT NULL
);

CREATE INDEX action_embeddings_cosine ON action_embeddings USING hnsw (embedding vector_cosine_ops);

INSERT INTO schema_version (version) VALUES (4);
