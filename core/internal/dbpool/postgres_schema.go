package dbpool

// postgresMigrations are described in docs/schema.md; see dialect.
var postgresMigrations = []string{`
CREATE TABLE record (
  id           BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  source       TEXT NOT NULL,
  record_id    TEXT NOT NULL,
  kind         TEXT NOT NULL,
  taken_at     TEXT,
  received_at  TIMESTAMPTZ NOT NULL,
  seq          BIGINT NOT NULL,
  content_type TEXT NOT NULL,
  labels       TEXT NOT NULL,
  data         BYTEA,
  raw          BYTEA,
  content_hash TEXT NOT NULL,
  amends       TEXT NOT NULL,
  unassigned   BOOLEAN NOT NULL,
  UNIQUE (source, record_id)
);
CREATE TABLE exam (
  source        TEXT NOT NULL,
  record_id     TEXT NOT NULL,
  patient_id    TEXT NOT NULL,
  patient_name  TEXT NOT NULL,
  patient_birth TEXT NOT NULL,
  patient_sex   TEXT NOT NULL,
  device_make   TEXT NOT NULL,
  device_model  TEXT NOT NULL,
  device_serial TEXT NOT NULL,
  taken_at      TEXT NOT NULL,
  received_at   TIMESTAMPTZ NOT NULL,
  unassigned    BOOLEAN NOT NULL,
  warnings      TEXT NOT NULL,
  amended_by    TEXT NOT NULL,
  PRIMARY KEY (source, record_id)
);
CREATE INDEX exam_patient ON exam (patient_id);
CREATE INDEX exam_received ON exam (received_at);
CREATE TABLE observation (
  source     TEXT NOT NULL,
  record_id  TEXT NOT NULL,
  idx        INTEGER NOT NULL,
  code       TEXT NOT NULL,
  eye        TEXT NOT NULL,
  method     TEXT NOT NULL,
  seq        BIGINT NOT NULL,
  value_num  DOUBLE PRECISION,
  value_text TEXT NOT NULL,
  unit       TEXT NOT NULL,
  text       TEXT NOT NULL,
  flags      TEXT NOT NULL,
  PRIMARY KEY (source, record_id, idx)
);
CREATE TABLE attachment (
  source       TEXT NOT NULL,
  record_id    TEXT NOT NULL,
  idx          INTEGER NOT NULL,
  name         TEXT NOT NULL,
  content_type TEXT NOT NULL,
  size         BIGINT NOT NULL,
  hash         TEXT NOT NULL,
  role         TEXT NOT NULL,
  PRIMARY KEY (source, record_id, idx)
);
CREATE TABLE ingest_receipt (
  source       TEXT NOT NULL,
  record_id    TEXT NOT NULL,
  content_hash TEXT NOT NULL,
  seq          BIGINT NOT NULL,
  first_seen   TIMESTAMPTZ NOT NULL,
  rows         BIGINT NOT NULL,
  PRIMARY KEY (source, record_id)
);
CREATE INDEX ingest_receipt_seen ON ingest_receipt (first_seen);
`, `
ALTER TABLE ingest_receipt ADD COLUMN sink TEXT NOT NULL DEFAULT '';
ALTER TABLE ingest_receipt DROP CONSTRAINT ingest_receipt_pkey, ADD PRIMARY KEY (source, record_id, sink);
`}
