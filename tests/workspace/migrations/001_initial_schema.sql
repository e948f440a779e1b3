CREATE EXTENSION "uuid-ossp";

CREATE TABLE schema_version (
    version    integer     PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE resource_references (
    id            uuid         PRIMARY KEY DEFAULT uuid_generate_v4(),
    cluster       varchar(100) NOT NULL,
    namespace     varchar(63)  NOT NULL,
    kind          varchar(100) NOT NULL,
    name          varchar(253) NOT NULL,
    first_seen_at timestamptz  NOT NULL DEFAULT now(),
    UNIQUE (cluster, namespace, kind, name)
);

CREATE TABLE action_histories (
    id                  bigserial   PRIMARY KEY,
    resource_id         uuid        NOT NULL REFERENCES resource_references (id) ON DELETE CASCADE,
    total_actions       integer     NOT NULL DEFAULT 0,
    last_action_at      timestamptz,
    retention_days      integer     NOT NULL DEFAULT 90,
    UNIQUE (resource_id)
);

INSERT INTO schema_version (version) VALUES (1);
