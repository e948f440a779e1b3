-- +goose Up
CREATE TABLE workflow_catalog (
    workflow_id uuid         PRIMARY KEY DEFAULT uuid_generate_v4(),
    name        varchar(255) NOT NULL,
    version     varchar(50)  NOT NULL,
    labels      jsonb        NOT NULL DEFAULT '{}',
    created_at  timestamptz  NOT NULL DEFAULT now(),
    UNIQUE (name, version)
);
INSERT INTO schema_version (version) VALUES (999);

-- +goose Down
DELETE FROM schema_version WHERE version = 999;
DROP TABLE workflow_catalog;
