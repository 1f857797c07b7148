package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"invoicebox-worker/internal/config"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/internal/visible"
)

// audit are the commands about the audit trail.
type audit struct {
	List   auditList   `cmd:"" settings:"journal-url" help:"List the audit trail, the newest entry first."`
	Export auditExport `cmd:"" settings:"journal-url" help:"Print the audit trail as JSON lines, the oldest entry first, with the hash of each entry and of the one before it."`
	Verify auditVerify `cmd:"" settings:"journal-url" help:"Check that no entry of the audit trail is missing or changed, also against an earlier export."`
}

// auditPage is how many entries are read at once.
const auditPage = 1000

type auditJSON struct {
	Number   int64     `json:"number"`
	Time     time.Time `json:"time"`
	Actor    string    `json:"actor"`
	Act      string    `json:"act"`
	Subject  string    `json:"subject"`
	Detail   string    `json:"detail"`
	Salt     string    `json:"salt,omitzero"`     // of the digest of the detail
	Digest   string    `json:"digest,omitzero"`   // only of a detail that was erased
	Previous string    `json:"previous,omitzero"` // only in an export; empty for the first
	Hash     string    `json:"hash"`
}

func auditView(e journal.AuditEntry) auditJSON {
	v := auditJSON{Number: e.ID, Time: e.At, Actor: e.Actor, Act: e.Act, Subject: e.Subject, Detail: e.Detail, Salt: hex.EncodeToString(e.Salt), Hash: hex.EncodeToString(e.Hash)}
	if e.Erased() {
		v.Digest = hex.EncodeToString(e.Digest)
	}
	return v
}

type auditList struct {
	outputFlag
	pageFlags
	Actor   string `name:"by" group:"command" placeholder:"NAME" help:"Only entries of this actor, such as caller:billing."`
	Subject string `name:"subject" group:"command" placeholder:"TEXT" help:"Only entries about this subject: an operation's id, or account/shop."`
}

// Run lists entries.
func (c *auditList) Run(ctx context.Context, s *settings, env environment) error {
	limit, err := c.limit(c.Output)
	if err != nil {
		return err
	}
	var before int64
	if c.After != "" {
		if before, err = strconv.ParseInt(c.After, 10, 64); err != nil || before < 1 {
			return &usageError{"--after must be the number of an entry, as listed"}
		}
	}
	return withJournal(ctx, s, env, func(j journal.Journal) error {
		views, rows := []auditJSON{}, [][]any{}
		more := false
		for done := false; !done; {
			page, err := j.Audit(ctx, before, auditPage)
			if err != nil {
				return err
			}
			done = len(page) < auditPage
			for _, e := range page {
				before = e.ID
				if c.Actor != "" && e.Actor != c.Actor || c.Subject != "" && e.Subject != c.Subject {
					continue
				}
				if more = len(views) == limit; more { // a further row exists, so the list is cut
					done = true
					break
				}
				views = append(views, auditView(e))
				detail := e.Detail
				if e.Erased() {
					detail = "(erased)"
				}
				rows = append(rows, []any{e.ID, formatTimeMillis(e.At), e.Actor, e.Act, e.Subject, detail})
			}
		}
		if err := c.write(env.stdout, views, func(w io.Writer) {
			printTable(w, []any{"number", "time", "actor", "act", "subject", "detail"}, rows, "no audit entries")
		}); err != nil || !more {
			return err
		}
		notifyTruncated(env, limit, strconv.FormatInt(views[limit-1].Number, 10))
		return nil
	})
}

type auditExport struct {
	After  int64 `name:"after" group:"command" placeholder:"N" default:"0" help:"Begin behind the entry with this number, to continue an export (default ${default})."`
	Follow bool  `name:"follow" group:"command" help:"Do not end: print further entries within a second of their commit, to keep the audit trail elsewhere."`
}

// auditEvery is how often an export that follows looks for entries.
const auditEvery = time.Second

// Run prints entries. An export that follows ends with ctx.
func (c *auditExport) Run(ctx context.Context, s *settings, env environment) error {
	if c.After < 0 {
		return &usageError{"--after must be the number of an entry, or 0"}
	}
	return withJournal(ctx, s, env, func(j journal.Journal) error {
		var previous []byte
		if c.After > 0 {
			page, err := j.AuditAfter(ctx, c.After-1, 1)
			if err != nil {
				return err
			}
			if len(page) == 0 || page[0].ID != c.After {
				return fmt.Errorf("the audit trail has no entry %d to continue behind", c.After)
			}
			previous = page[0].Hash
		}
		out := bufio.NewWriter(env.stdout)
		after := c.After
		tick := time.NewTicker(auditEvery)
		defer tick.Stop()
		for {
			page, err := j.AuditAfter(ctx, after, auditPage)
			if err != nil && c.Follow && ctx.Err() != nil {
				return out.Flush()
			}
			if err != nil {
				return errors.Join(err, out.Flush())
			}
			for _, e := range page {
				v := auditView(e)
				v.Previous = hex.EncodeToString(previous)
				line, err := json.Marshal(v)
				if err != nil {
					return fmt.Errorf("entry %d is not text: %w", e.ID, err)
				}
				if _, err := out.Write(append(visible.JSON(line), '\n')); err != nil {
					return err
				}
				after, previous = e.ID, e.Hash
			}
			if len(page) == auditPage {
				continue
			}
			if err := out.Flush(); err != nil || !c.Follow {
				return err
			}
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
		}
	})
}

type auditVerify struct {
	outputFlag
	File string `name:"file" group:"command" placeholder:"FILE" help:"An earlier export. Its entries must be those of the journal."`
}

type auditVerifyJSON struct {
	Entries int64  `json:"entries"`
	Erased  int64  `json:"erased"`        // whose details were erased with a shop's data
	Hash    string `json:"hash,omitzero"` // of the last one
	File    int64  `json:"fileEntries,omitzero"`
}

// Run checks the chain.
func (c *auditVerify) Run(ctx context.Context, s *settings, env environment) error {
	var kept exported
	if c.File != "" {
		file, err := os.Open(c.File)
		if err != nil {
			return fmt.Errorf("%s cannot be read: %s", c.File, config.ErrorText(err))
		}
		defer func() { _ = file.Close() }()
		if kept, err = verifyExport(file); err != nil {
			return fmt.Errorf("%s: %w", c.File, err)
		}
	}
	return withJournal(ctx, s, env, func(j journal.Journal) error {
		last, erased, err := verifyJournal(ctx, j, kept)
		if err != nil {
			return err
		}
		view := auditVerifyJSON{Entries: last.ID, Erased: erased, Hash: hex.EncodeToString(last.Hash), File: kept.entries}
		return c.write(env.stdout, view, func(w io.Writer) {
			_, _ = fmt.Fprintf(w, "The audit trail is whole: %s.\n", plural(int(last.ID), "entry", "entries"))
			if erased > 0 {
				_, _ = fmt.Fprintf(w, "The details of %s were erased with the data of shops.\n", plural(int(erased), "entry", "entries"))
			}
			if last.ID > 0 {
				_, _ = fmt.Fprintf(w, "The hash of the last one is %s.\n", view.Hash)
			}
			if kept.entries > 0 {
				_, _ = fmt.Fprintf(w, "It contains all entries of %s, up to %d.\n", c.File, kept.last.ID)
			}
		})
	})
}

// verifyJournal checks the chain of a journal from its first entry, and returns the last
// and how many details were erased.
func verifyJournal(ctx context.Context, j journal.Reads, kept exported) (last journal.AuditEntry, erased int64, err error) {
	changed := func(format string, args ...any) (journal.AuditEntry, int64, error) {
		return last, erased, fmt.Errorf("the audit trail was changed: "+format, args...)
	}
	// Lists show such entries too, and the chain begins behind them.
	if before, err := j.Audit(ctx, 1, 1); err != nil {
		return last, erased, err
	} else if len(before) > 0 {
		return changed("entry %d was inserted; the first one has the number 1", before[0].ID)
	}
	var details onboarding.ErasedDetails
	for {
		page, err := j.AuditAfter(ctx, last.ID, auditPage)
		if err != nil {
			return last, erased, err
		}
		for _, e := range page {
			if err := follows(last, e); err != nil {
				return changed("%w", err)
			}
			details.Add(e)
			if last = e; e.ID == kept.last.ID && !bytes.Equal(e.Hash, kept.last.Hash) {
				return changed("entry %d, or one before it, is another than in the export", e.ID)
			}
		}
		if len(page) < auditPage {
			break
		}
	}
	switch {
	case last.ID < kept.last.ID:
		return changed("it ends with entry %d, and the export has entry %d. Entries were removed, or the journal was restored from an older copy", last.ID, kept.last.ID)
	case details.Unexplained() > 0:
		return changed("the detail of entry %d is missing, and no erasure of a shop's data explains it", details.Unexplained())
	}
	return last, details.Count, nil
}

// follows checks that an entry is the successor of another.
func follows(last, e journal.AuditEntry) error {
	switch next := journal.NextAudit(last.ID, last.Hash, e); {
	case e.ID <= last.ID:
		return fmt.Errorf("entry %d stands behind entry %d", e.ID, last.ID)
	case e.ID != next.ID && e.ID == last.ID+2:
		return fmt.Errorf("entry %d is missing", last.ID+1)
	case e.ID != next.ID:
		return fmt.Errorf("the entries %d to %d are missing", last.ID+1, e.ID-1)
	case !bytes.Equal(e.Hash, next.Hash), e.Detail != "" && !bytes.Equal(e.Digest, journal.DetailDigest(e.Salt, e.Detail)):
		return fmt.Errorf("the hash of entry %d does not fit: it, or the one before it, is not what was written", e.ID)
	}
	return nil
}

// exported is what an export holds.
type exported struct {
	entries int64
	last    journal.AuditEntry
}

// maxAuditLine bounds a line of an export.
const maxAuditLine = 1 << 20

// verifyExport reads an export and checks its chain.
func verifyExport(r io.Reader) (exported, error) {
	var x exported
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxAuditLine)
	for lines.Scan() {
		var v auditJSON
		if err := json.Unmarshal(lines.Bytes(), &v, json.RejectUnknownMembers(true)); err != nil {
			return x, fmt.Errorf("line %d is not an entry of an export", x.entries+1)
		}
		hash, err := hex.DecodeString(v.Hash)
		previous, previousErr := hex.DecodeString(v.Previous)
		if err != nil || previousErr != nil {
			return x, fmt.Errorf("line %d has a hash that is not hexadecimal", x.entries+1)
		}
		if x.entries == 0 {
			x.last = journal.AuditEntry{ID: v.Number - 1, Hash: previous}
		}
		if !bytes.Equal(previous, x.last.Hash) {
			return x, fmt.Errorf("line %d does not follow the line before it", x.entries+1)
		}
		salt, saltErr := hex.DecodeString(v.Salt)
		digest, digestErr := hex.DecodeString(v.Digest)
		if saltErr != nil || digestErr != nil {
			return x, fmt.Errorf("line %d has a salt or digest that is not hexadecimal", x.entries+1)
		}
		if v.Detail != "" {
			digest = journal.DetailDigest(salt, v.Detail)
		}
		e := journal.AuditEntry{ID: v.Number, At: v.Time, Actor: v.Actor, Act: v.Act, Subject: v.Subject, Detail: v.Detail, Salt: salt, Digest: digest, Hash: hash}
		if err := follows(x.last, e); err != nil {
			return x, fmt.Errorf("line %d: %w", x.entries+1, err)
		}
		x.last = e
		x.entries++
	}
	if err := lines.Err(); err != nil {
		return x, fmt.Errorf("line %d cannot be read: %w", x.entries+1, err)
	}
	if x.entries == 0 {
		return x, errors.New("it holds no entry")
	}
	return x, nil
}
