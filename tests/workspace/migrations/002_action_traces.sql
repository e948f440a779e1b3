CREATE TYPE execution_status AS ENUM ('pending', 'executing', 'completed', 'failed', 'rolled_back');

CREATE TABLE action_traces (
    id                  bigserial        PRIMARY KEY,
    action_history_id   bigint           NOT NULL REFERENCES action_histories (id) ON DELETE CASCADE,
    action_id           uuid             NOT NULL DEFAULT uuid_generate_v4() UNIQUE,
    action_type         varchar(100)     NOT NULL,
    action_timestamp    timestamptz      NOT NULL DEFAULT now(),
    action_parameters   jsonb            NOT NULL DEFAULT '{}',
    status              execution_status NOT NULL DEFAULT 'pending',
    effectiveness_score numeric(4, 3)    CHECK (effectiveness_score BETWEEN 0 AND 1)
);

CREATE INDEX action_traces_history ON action_traces (action_history_id, action_timestamp DESC);

INSERT INTO schema_version (version) VALUES (2);
