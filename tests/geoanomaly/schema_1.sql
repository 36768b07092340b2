CREATE TABLE jobs (
	seq INTEGER NOT NULL PRIMARY KEY,
	id VARCHAR(64) NOT NULL,
	idempotency_key VARCHAR(255),
	process VARCHAR(32) NOT NULL,
	spec JSON NOT NULL,
	status VARCHAR(16) NOT NULL,
	stage VARCHAR(64) NOT NULL,
	percent DOUBLE PRECISION NOT NULL,
	message TEXT NOT NULL,
	created DOUBLE PRECISION NOT NULL,
	updated DOUBLE PRECISION NOT NULL,
	started DOUBLE PRECISION,
	finished DOUBLE PRECISION,
	attempt INTEGER NOT NULL,
	cancel_requested BOOLEAN NOT NULL,
	outputs JSON NOT NULL,
	owner VARCHAR(255),
	fence INTEGER NOT NULL,
	lease_until DOUBLE PRECISION,
	rung DOUBLE PRECISION NOT NULL,
	UNIQUE (id),
	UNIQUE (idempotency_key)
);
CREATE INDEX jobs_by_status ON jobs (status, seq);
CREATE TABLE scenes (
	id VARCHAR(64) NOT NULL,
	path TEXT NOT NULL,
	title TEXT NOT NULL,
	sensor VARCHAR(64),
	date VARCHAR(32),
	width INTEGER NOT NULL,
	height INTEGER NOT NULL,
	bands JSON NOT NULL,
	dtype VARCHAR(32) NOT NULL,
	crs TEXT,
	footprint JSON,
	sha256 VARCHAR(64) NOT NULL,
	created DOUBLE PRECISION NOT NULL,
	PRIMARY KEY (id)
);
CREATE TABLE judgements (
	job_id VARCHAR(64) NOT NULL,
	"row" INTEGER NOT NULL,
	col INTEGER NOT NULL,
	verdict VARCHAR(16) NOT NULL,
	note TEXT NOT NULL,
	at DOUBLE PRECISION NOT NULL,
	PRIMARY KEY (job_id, "row", col),
	FOREIGN KEY(job_id) REFERENCES jobs (id)
);
INSERT INTO jobs (id, idempotency_key, process, spec, status, stage, percent, message, created,
	updated, attempt, cancel_requested, outputs, fence, rung)
VALUES ('a1', 'k', 'detect-anomaly',
	'{"process": "detect-anomaly", "scenes": [{"href": "after.tif"}]}',
	'successful', 'done', 100, '', 1, 2, 1, FALSE, '["heatmap.tif"]', 1, 1);
INSERT INTO scenes VALUES ('s1', '/data/s1.tif', 'Taizhou', NULL, NULL, 4, 3, '["red"]', 'uint8',
	NULL, NULL, 'ff', 1);
