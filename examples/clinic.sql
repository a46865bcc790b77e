CREATE TYPE triage AS ENUM ('routine', 'urgent', 'emergency');

CREATE TABLE ward (
    code char(4) PRIMARY KEY,
    name varchar(40) NOT NULL,
    beds smallint NOT NULL CHECK (beds BETWEEN 4 AND 60)
);

CREATE TABLE doctor (
    id         serial PRIMARY KEY,
    ward       char(4) NOT NULL REFERENCES ward,
    supervisor integer REFERENCES doctor (id),
    email      varchar(60) NOT NULL UNIQUE,
    hired      date NOT NULL,
    retired    date,
    CHECK (retired >= hired)
);

CREATE TABLE patient (
    id     serial PRIMARY KEY,
    city   varchar(40),
    born   date NOT NULL,
    smoker boolean,
    weight numeric(5, 1) CHECK (weight > 2 AND weight < 200)
);

CREATE TABLE visit (
    patient integer NOT NULL REFERENCES patient,
    number  smallint NOT NULL,
    doctor  integer NOT NULL REFERENCES doctor,
    triage  triage NOT NULL DEFAULT 'routine',
    arrived timestamp NOT NULL,
    notes   text CHECK (length(trim(notes)) > 3),
    PRIMARY KEY (patient, number)
);

CREATE TABLE prescription (
    id      serial PRIMARY KEY,
    patient integer NOT NULL,
    number  smallint NOT NULL,
    drug    varchar(30) NOT NULL CHECK (drug IN ('aspirin', 'ibuprofen', 'insulin', 'statin')),
    dose    numeric(6, 2) NOT NULL CHECK (dose BETWEEN 0.5 AND 500),
    given   timestamp NOT NULL,
    FOREIGN KEY (patient, number) REFERENCES visit (patient, number)
);
