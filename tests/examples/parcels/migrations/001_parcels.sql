CREATE TABLE parcels (
    code          text PRIMARY KEY,
    recipient     text NOT NULL,
    state         text NOT NULL DEFAULT 'registered',
    registered_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE scans (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    parcel     text NOT NULL REFERENCES parcels,
    place      text NOT NULL,
    state      text NOT NULL CHECK (state IN ('in_transit', 'out_for_delivery', 'delivered')),
    scanned_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX scans_by_parcel ON scans (parcel, id);
