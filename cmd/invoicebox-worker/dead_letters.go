package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"invoicebox-worker/internal/journal"
)

// deadLetters are the commands about dead letters.
type deadLetters struct {
	List deadLettersList `cmd:"" settings:"journal-url" help:"List dead letters, the newest first."`
	Show lettersShow     `cmd:"" settings:"journal-url" help:"One dead letter, without its payload."`
}

type deadLettersList struct {
	outputFlag
	pageFlags
}

type deadLetterJSON struct {
	ID         int64      `json:"id"`
	Topic      string     `json:"topic"`
	Partition  int        `json:"partition"`
	Offset     int64      `json:"offset"`
	EventID    string     `json:"eventId,omitzero"`
	Account    string     `json:"account,omitzero"`
	Shop       string     `json:"shop,omitzero"` // where it could be read
	Key        string     `json:"key,omitzero"`  // of the record
	Reason     string     `json:"reason"`
	Where      string     `json:"where,omitzero"`
	Time       *time.Time `json:"time,omitzero"`
	ReceivedAt *time.Time `json:"receivedAt,omitzero"`
	Bytes      int        `json:"bytes"`
	Digest     string     `json:"digest,omitzero"`
	Kept       bool       `json:"kept"` // the payload lies sealed in the journal
}

func deadLetterView(l journal.DeadLetterRecord) deadLetterJSON {
	return deadLetterJSON{
		ID: l.ID, Topic: l.Topic, Partition: l.Partition, Offset: l.Offset, EventID: l.EventID, Reason: l.Reason, Where: l.Where,
		Account: l.Shop.Account, Shop: l.Shop.Shop, Key: l.Key,
		Time: timeJSON(l.Time), ReceivedAt: timeJSON(l.Received), Bytes: l.Size, Digest: hex.EncodeToString(l.Digest), Kept: len(l.Sealed) > 0,
	}
}

// Run lists dead letters.
func (c *deadLettersList) Run(ctx context.Context, s *settings, env environment) error {
	limit, err := c.limit(c.Output)
	if err != nil {
		return err
	}
	var before int64
	if c.After != "" {
		if before, err = strconv.ParseInt(c.After, 10, 64); err != nil || before < 1 {
			return &usageError{"--after must be the number of a dead letter, as listed"}
		}
	}
	return withJournal(ctx, s, env, func(j journal.Journal) error {
		var records []journal.DeadLetterRecord
		for len(records) <= limit { // one row more than is printed shows whether the list is cut
			want := min(1000, limit+1-len(records))
			page, err := j.DeadLetters(ctx, before, want)
			if err != nil {
				return err
			}
			records = append(records, page...)
			if len(page) < want {
				break
			}
			before = page[len(page)-1].ID
		}
		more := len(records) > limit
		if more {
			records = records[:limit]
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
	return []any{"id", "received", "reason", "where", "shop", "lies at", "event id", "bytes"}
}

func letterRow(l journal.DeadLetterRecord) []any {
	shop := l.Shop.Shop
	if shop == "" {
		shop = l.Key
	}
	return []any{l.ID, formatTimeMillis(l.Received), l.Reason, l.Where, shop, topicPartitionOffset(l.Topic, l.Partition, l.Offset), l.EventID, l.Size}
}

type lettersShow struct {
	outputFlag
	ID int64 `arg:"" name:"id" help:"The dead letter's number, as listed."`
}

// Run shows one dead letter.
func (c *lettersShow) Run(ctx context.Context, s *settings, env environment) error {
	if c.ID < 1 {
		return &usageError{"a dead letter's id is a number from 1, as `dead-letters list` shows it"}
	}
	return withJournal(ctx, s, env, func(j journal.Journal) error {
		page, err := j.DeadLetters(ctx, c.ID+1, 1)
		if err != nil && !errors.Is(err, journal.ErrNotFound) {
			return err
		}
		if len(page) == 0 || page[0].ID != c.ID {
			return fmt.Errorf("there is no dead letter %d", c.ID)
		}
		l := deadLetterView(page[0])
		return c.write(env.stdout, l, func(w io.Writer) {
			kept := "no: too large, or past --dead-letter-limit; only its digest"
			if l.Kept {
				kept = "sealed in the journal"
			}
			printFields(w, "dead letter", strconv.FormatInt(l.ID, 10), "topic", l.Topic, "partition", strconv.Itoa(l.Partition), "offset", strconv.FormatInt(l.Offset, 10),
				"reason", l.Reason, "where", l.Where, "event id", l.EventID, "account", l.Account, "shop", l.Shop, "key", l.Key, "time", formatTimeMillis(page[0].Time), "received", formatTimeMillis(page[0].Received),
				"bytes", strconv.Itoa(l.Bytes), "payload", kept, "digest", l.Digest)
		})
	})
}
