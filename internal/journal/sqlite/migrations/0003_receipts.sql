-- What is needed to look at answers that come late, and to erase them.

-- +goose Up

-- A receipt came that the operation did not go on with, and nobody has compared
-- it. Where the operation has ended it can be claimed in stage 2 for that.
ALTER TABLE operation ADD COLUMN late INTEGER NOT NULL DEFAULT 0;

-- When the credentials that its receipts brought were found to work: some time
-- after it the receipts are erased.
ALTER TABLE operation ADD COLUMN verified INTEGER;
