-- +goose Up
-- A unique constraint of a partitioned table has to contain the partition key,
-- so an event is identified by its id together with its timestamp.
CREATE TABLE audit_events (
    event_id        uuid         NOT NULL DEFAULT uuid_generate_v4(),
    version         varchar(16)  NOT NULL,
    event_type      varchar(100) NOT NULL,
    event_timestamp timestamptz  NOT NULL,
    event_category  varchar(50)  NOT NULL,
    event_action    varchar(100) NOT NULL,
    event_outcome   varchar(20)  NOT NULL,
    correlation_id  varchar(255) NOT NULL,
    event_data      jsonb        NOT NULL,
    recorded_at     timestamptz  NOT NULL DEFAULT now(),
    PRIMARY KEY (event_id, event_timestamp)
) PARTITION BY RANGE (event_timestamp);

INSERT INTO schema_version (version) VALUES (6);

-- +goose Down
DELETE FROM schema_version WHERE version = 6;
DROP TABLE audit_events;
