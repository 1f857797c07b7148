package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"invoicebox-worker/consumer"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/schemas"
)

// deadLetters are the commands about dead letters.
type deadLetters struct {
	List   deadLettersList   `cmd:"" settings:"journal-url" help:"List dead letters, the newest first."`
	Show   deadLettersShow   `cmd:"" settings:"journal-url,keyset-file" help:"Show one dead letter. Its record is printed only with --reveal."`
	Export deadLettersExport `cmd:"" settings:"journal-url,keyset-file" help:"Print dead letters as JSON lines, the newest first. Their records are printed only with --reveal."`
	Purge  deadLettersPurge  `cmd:"" settings:"journal-url" help:"Delete dead letters before --dead-letter-retention is over. The command shows their number first and asks for confirmation."`
	Replay deadLettersReplay `cmd:"" settings:"journal-url" help:"Replay dead letters: the running worker processes their records as if it had just read them. An event that is in the inbox is a repeat."`
}

// deadLetterFlags choose dead letters.
type deadLetterFlags struct {
	Reason  string `name:"reason" group:"command" placeholder:"REASON" help:"Only dead letters with this reason, such as unknown_account."`
	Topic   string `name:"from-topic" group:"command" placeholder:"TOPIC" help:"Only dead letters of this topic, by its name in Kafka."`
	Account string `name:"account" group:"command" placeholder:"NAME" help:"Only dead letters of this account, and those whose account could not be read."`
	Shop    string `name:"shop" group:"command" placeholder:"ID" help:"Only dead letters of this shop. If the event could not be read, the key of the record counts as the shop."`
	Since   string `name:"since" group:"command" placeholder:"TIME" help:"Only dead letters received at this time or later: an age such as 24h, or a time such as 2026-01-31T00:00:00Z."`
	Until   string `name:"until" group:"command" placeholder:"TIME" help:"Only dead letters received before this time, in the form of --since."`
}

// filter checks the flags.
func (f deadLetterFlags) filter(now time.Time) (journal.DeadLetterFilter, error) {
	filter := journal.DeadLetterFilter{Reason: f.Reason, Topic: f.Topic, Shop: journal.ShopKey{Account: f.Account, Shop: f.Shop}}
	if f.Reason != "" && !slices.Contains(schemas.InvalidReasons(), schemas.InvalidReason(f.Reason)) {
		return filter, &usageError{"--reason must be a reason of dead letters, such as unknown_account: docs/events.md lists them"}
	}
	for _, t := range []struct {
		flag, text string
		to         *time.Time
	}{{"--since", f.Since, &filter.Since}, {"--until", f.Until, &filter.Until}} {
		if t.text == "" {
			continue
		}
		at, ok := instant(t.text, now)
		if !ok {
			return filter, &usageError{t.flag + " must be an age such as 24h, or a time such as 2026-01-31T00:00:00Z"}
		}
		*t.to = at
	}
	return filter, nil
}

// instant reads a time, or an age before now.
func instant(text string, now time.Time) (time.Time, bool) {
	if age, err := time.ParseDuration(text); err == nil {
		return now.Add(-age), age >= 0
	}
	at, err := time.Parse(time.RFC3339, text)
	return at, err == nil && !at.IsZero() // the zero time would choose all
}

type deadLettersList struct {
	outputFlag
	pageFlags
	deadLetterFlags
	Open bool `name:"open" group:"command" help:"Only dead letters that were not replayed successfully."`
}

type deadLetterJSON struct {
	ID         int64        `json:"id"`
	Topic      string       `json:"topic"`
	Partition  int          `json:"partition"`
	Offset     int64        `json:"offset"`
	EventID    string       `json:"eventId,omitzero"`
	Account    string       `json:"account,omitzero"`
	Shop       string       `json:"shop,omitzero"` // where it could be read
	Key        string       `json:"key,omitzero"`  // of the record
	Reason     string       `json:"reason"`
	Where      string       `json:"where,omitzero"`
	Time       *time.Time   `json:"time,omitzero"`
	ReceivedAt *time.Time   `json:"receivedAt,omitzero"`
	Bytes      int          `json:"bytes"`
	Digest     string       `json:"digest,omitzero"`
	Kept       bool         `json:"kept"`                // the record is sealed in the journal
	Replays    int          `json:"replays"`             // how often the record was replayed
	ReplayDue  *time.Time   `json:"replayDue,omitzero"`  // when it is to be replayed
	ReplayedAt *time.Time   `json:"replayedAt,omitzero"` // when it was replayed successfully
	Problem    string       `json:"problem,omitzero"`    // with --reveal: why the record cannot be opened
	Record     *payloadJSON `json:"record,omitzero"`     // with --reveal
}

// payloadJSON is the record of a dead letter. Of key and value, and of the value of a
// header, one form is set: the text, or base64 where it is not UTF-8.
type payloadJSON struct {
	Key     *textJSON    `json:"key"` // null: the record has none
	Headers []headerJSON `json:"headers"`
	Value   *textJSON    `json:"value"`
}

type headerJSON struct {
	Name  string    `json:"name"`
	Value *textJSON `json:"value"`
}

type textJSON struct {
	Text   *string `json:"text,omitzero"`
	Base64 []byte  `json:"base64,omitzero"`
}

func textView(b []byte) *textJSON {
	switch {
	case b == nil:
		return nil
	case utf8.Valid(b):
		text := string(b)
		return &textJSON{Text: &text}
	}
	return &textJSON{Base64: b}
}

func payloadView(m schemas.Message) *payloadJSON {
	v := &payloadJSON{Key: textView(m.Key), Value: textView(m.Value), Headers: []headerJSON{}}
	for _, h := range m.Headers {
		v.Headers = append(v.Headers, headerJSON{h.Key, textView(h.Value)})
	}
	return v
}

func deadLetterView(l journal.DeadLetterRecord) deadLetterJSON {
	return deadLetterJSON{
		ID: l.ID, Topic: l.Topic, Partition: l.Partition, Offset: l.Offset, EventID: l.EventID, Reason: l.Reason, Where: l.Where,
		Account: l.Shop.Account, Shop: l.Shop.Shop, Key: l.Key,
		Time: timeJSON(l.Time), ReceivedAt: timeJSON(l.Received), Bytes: l.Size, Digest: hex.EncodeToString(l.Digest), Kept: l.Kept,
		Replays: l.Replays, ReplayDue: timeJSON(l.ReplayDue), ReplayedAt: timeJSON(l.Replayed),
	}
}

// Run lists dead letters.
func (c *deadLettersList) Run(ctx context.Context, s *settings, env environment) error {
	limit, err := c.limit(c.Output)
	if err != nil {
		return err
	}
	f, err := c.filter(time.Now())
	if err != nil {
		return err
	}
	f.Open, f.NoRecords = c.Open, true
	if c.After != "" {
		if f.Before, err = strconv.ParseInt(c.After, 10, 64); err != nil || f.Before < 1 {
			return &usageError{"--after must be the number of a dead letter, as listed"}
		}
	}
	return withJournal(ctx, s, env, func(j journal.Journal) error {
		records, more, err := readRows(limit, f.Before, func(before int64, limit int) ([]journal.DeadLetterRecord, error) {
			f.Before, f.Limit = before, limit
			return j.DeadLetters(ctx, f)
		}, func(r journal.DeadLetterRecord) int64 { return r.ID })
		if err != nil {
			return err
		}
		views, rows := []deadLetterJSON{}, [][]any{}
		for _, l := range records {
			views = append(views, deadLetterView(l))
			rows = append(rows, letterRow(l))
		}
		if err := c.write(env.stdout, views, func(w io.Writer) {
			printTable(w, letterColumns(), rows, "no dead letters")
		}); err != nil || !more {
			return err
		}
		notifyTruncated(env, limit, strconv.FormatInt(records[limit-1].ID, 10))
		return nil
	})
}

func letterColumns() []any {
	return []any{"id", "received", "reason", "where", "shop", "position", "event id", "bytes", "replay"}
}

func letterRow(l journal.DeadLetterRecord) []any {
	shop := l.Shop.Shop
	if shop == "" {
		shop = l.Key
	}
	return []any{l.ID, formatTimeMillis(l.Received), l.Reason, l.Where, shop, topicPartitionOffset(l.Topic, l.Partition, l.Offset), l.EventID, l.Size, replayState(l)}
}

// replayState describes the replay of a dead letter.
func replayState(l journal.DeadLetterRecord) string {
	switch {
	case !l.Replayed.IsZero():
		return "done " + formatTime(l.Replayed)
	case !l.ReplayDue.IsZero():
		return "waits"
	case !l.Kept:
		return "record not kept"
	case l.Replays > 0:
		return "failed " + plural(l.Replays, "time", "times")
	}
	return ""
}

type deadLettersShow struct {
	outputFlag
	ID     int64  `arg:"" name:"id" help:"The dead letter's id, as listed."`
	Reveal bool   `name:"reveal" group:"command" help:"Also print the record: key, headers and value. It may hold an address or a code. Audited."`
	Actor  string `name:"actor" group:"command" placeholder:"NAME" help:"Who asks, for the audit trail; else the system's user and host."`
	Note   string `name:"note" group:"command" placeholder:"TEXT" help:"Why, for the audit trail; never a secret."`
}

// Run shows one dead letter. With --reveal the audit entry is on disk before a byte of
// the record is printed.
func (c *deadLettersShow) Run(ctx context.Context, s *settings, env environment) error {
	if c.ID < 1 {
		return &usageError{"a dead letter's id is a number from 1, as `dead-letters list` shows it"}
	}
	if err := checkActor(&c.Actor, "--note", c.Note); err != nil {
		return err
	}
	return withJournal(ctx, s, env, func(j journal.Journal) error {
		page, err := j.DeadLetters(ctx, journal.DeadLetterFilter{ID: c.ID, NoRecords: !c.Reveal, Limit: 1})
		if err != nil {
			return err
		}
		if len(page) == 0 {
			return fmt.Errorf("there is no dead letter %d", c.ID)
		}
		l := deadLetterView(page[0])
		if c.Reveal {
			if l.Record, err = c.reveal(ctx, s, j, page[0]); err != nil {
				return err
			}
		}
		return c.write(env.stdout, l, func(w io.Writer) { printLetter(w, page[0], l) })
	})
}

// reveal unseals the record of a dead letter, and writes an audit entry before it
// returns it.
func (c *deadLettersShow) reveal(ctx context.Context, s *settings, j journal.Journal, l journal.DeadLetterRecord) (*payloadJSON, error) {
	if len(l.Sealed) == 0 {
		return nil, fmt.Errorf("the record of dead letter %d is not kept", l.ID)
	}
	keys, err := s.keysetOf(ctx, j)
	if err != nil {
		return nil, err
	}
	m, err := openLetter(keys, l)
	if err != nil {
		return nil, err
	}
	if err := j.AppendAudit(ctx, journal.AuditEntry{
		At: time.Now(), Actor: c.Actor, Act: "dead-letters.revealed", Subject: "dead-letter/" + strconv.FormatInt(l.ID, 10), Detail: c.Note,
	}); err != nil {
		return nil, fmt.Errorf("nothing is printed, because it cannot be written to the audit trail: %w", err)
	}
	return payloadView(m), nil
}

// openLetter unseals the record of a dead letter.
func openLetter(keys *keyset.Set, l journal.DeadLetterRecord) (schemas.Message, error) {
	m, err := consumer.OpenLetter(keys, l)
	switch {
	case errors.Is(err, keyset.ErrNoKey):
		return m, fmt.Errorf("the keyset lacks the key that sealed dead letter %d", l.ID)
	case err != nil:
		return m, fmt.Errorf("the record of dead letter %d cannot be opened: the worker's keyset did not seal it for this dead letter: it was moved or edited in the database, or is damaged", l.ID)
	}
	return m, nil
}

func printLetter(w io.Writer, r journal.DeadLetterRecord, l deadLetterJSON) {
	kept := "no: too large, or past --dead-letter-limit; only its digest"
	switch {
	case l.Kept:
		kept = "sealed in the journal"
	case l.ReplayedAt != nil:
		kept = "no: it was replayed"
	}
	printFields(w, "dead letter", strconv.FormatInt(l.ID, 10), "topic", l.Topic, "partition", strconv.Itoa(l.Partition), "offset", strconv.FormatInt(l.Offset, 10),
		"reason", l.Reason, "where", l.Where, "event id", l.EventID, "account", l.Account, "shop", l.Shop, "key", l.Key, "time", formatTimeMillis(r.Time), "received", formatTimeMillis(r.Received),
		"bytes", strconv.Itoa(l.Bytes), "record", kept, "digest", l.Digest, "replay", replayState(r))
	if l.Record == nil {
		return
	}
	_, _ = fmt.Fprintf(w, "key     %s\n", l.Record.Key)
	for _, h := range l.Record.Headers {
		_, _ = fmt.Fprintf(w, "header  %q: %s\n", h.Name, h.Value)
	}
	_, _ = fmt.Fprintf(w, "value\n%s\n", l.Record.Value)
}

// String quotes a text that may be hostile.
func (t *textJSON) String() string {
	switch {
	case t == nil:
		return "(none)"
	case t.Base64 != nil:
		return fmt.Sprintf("(not UTF-8, quoted) %q", t.Base64)
	}
	return strings.TrimSuffix(quotedBody(*t.Text), "\n")
}
