package dbpool

// sqlserverMigrations are described in docs/schema.md; see dialect. Names compare letter by letter, whatever the database
// does otherwise. Keys are not clustered: then they may be as long as an id can be.
var sqlserverMigrations = []string{`
CREATE TABLE record (
  id           BIGINT IDENTITY PRIMARY KEY,
  source       NVARCHAR(160) COLLATE Latin1_General_100_BIN2 NOT NULL,
  record_id    NVARCHAR(512) COLLATE Latin1_General_100_BIN2 NOT NULL,
  kind         NVARCHAR(MAX) NOT NULL,
  taken_at     NVARCHAR(MAX),
  received_at  DATETIMEOFFSET NOT NULL,
  seq          BIGINT NOT NULL,
  content_type NVARCHAR(MAX) NOT NULL,
  labels       NVARCHAR(MAX) NOT NULL,
  data         VARBINARY(MAX),
  raw          VARBINARY(MAX),
  content_hash NVARCHAR(MAX) NOT NULL,
  amends       NVARCHAR(512) COLLATE Latin1_General_100_BIN2 NOT NULL,
  unassigned   BIT NOT NULL,
  UNIQUE NONCLUSTERED (source, record_id)
);
CREATE TABLE exam (
  source        NVARCHAR(160) COLLATE Latin1_General_100_BIN2 NOT NULL,
  record_id     NVARCHAR(512) COLLATE Latin1_General_100_BIN2 NOT NULL,
  patient_id    NVARCHAR(450) NOT NULL,
  patient_name  NVARCHAR(MAX) NOT NULL,
  patient_birth NVARCHAR(MAX) NOT NULL,
  patient_sex   NVARCHAR(MAX) NOT NULL,
  device_make   NVARCHAR(MAX) NOT NULL,
  device_model  NVARCHAR(MAX) NOT NULL,
  device_serial NVARCHAR(MAX) NOT NULL,
  taken_at      NVARCHAR(MAX) NOT NULL,
  received_at   DATETIMEOFFSET NOT NULL,
  unassigned    BIT NOT NULL,
  warnings      NVARCHAR(MAX) NOT NULL,
  amended_by    NVARCHAR(512) COLLATE Latin1_General_100_BIN2 NOT NULL,
  PRIMARY KEY NONCLUSTERED (source, record_id)
);
CREATE INDEX exam_patient ON exam (patient_id);
CREATE INDEX exam_received ON exam (received_at);
CREATE TABLE observation (
  source     NVARCHAR(160) COLLATE Latin1_General_100_BIN2 NOT NULL,
  record_id  NVARCHAR(512) COLLATE Latin1_General_100_BIN2 NOT NULL,
  idx        INT NOT NULL,
  code       NVARCHAR(MAX) NOT NULL,
  eye        NVARCHAR(MAX) NOT NULL,
  method     NVARCHAR(MAX) NOT NULL,
  seq        BIGINT NOT NULL,
  value_num  FLOAT,
  value_text NVARCHAR(MAX) NOT NULL,
  unit       NVARCHAR(MAX) NOT NULL,
  text       NVARCHAR(MAX) NOT NULL,
  flags      NVARCHAR(MAX) NOT NULL,
  PRIMARY KEY NONCLUSTERED (source, record_id, idx)
);
CREATE TABLE attachment (
  source       NVARCHAR(160) COLLATE Latin1_General_100_BIN2 NOT NULL,
  record_id    NVARCHAR(512) COLLATE Latin1_General_100_BIN2 NOT NULL,
  idx          INT NOT NULL,
  name         NVARCHAR(MAX) NOT NULL,
  content_type NVARCHAR(MAX) NOT NULL,
  size         BIGINT NOT NULL,
  hash         NVARCHAR(MAX) NOT NULL,
  role         NVARCHAR(MAX) NOT NULL,
  PRIMARY KEY NONCLUSTERED (source, record_id, idx)
);
CREATE TABLE ingest_receipt (
  source       NVARCHAR(160) COLLATE Latin1_General_100_BIN2 NOT NULL,
  record_id    NVARCHAR(512) COLLATE Latin1_General_100_BIN2 NOT NULL,
  sink         NVARCHAR(160) COLLATE Latin1_General_100_BIN2 NOT NULL,
  content_hash NVARCHAR(MAX) NOT NULL,
  seq          BIGINT NOT NULL,
  first_seen   DATETIMEOFFSET NOT NULL,
  rows         BIGINT NOT NULL,
  PRIMARY KEY NONCLUSTERED (source, record_id, sink)
);
CREATE INDEX ingest_receipt_seen ON ingest_receipt (first_seen);
`}
