-- Written in the transaction of what it tells about, read by the relay: see parcels/outbox.py.
CREATE TABLE outbox (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subject text NOT NULL,
    event   jsonb NOT NULL
);
