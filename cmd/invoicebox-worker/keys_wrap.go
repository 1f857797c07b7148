package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"invoicebox-worker/internal/config"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
)

type keysWrap struct{ keyChange }

type keysWrapJSON struct {
	File string `json:"file"`
	Wrap string `json:"wrap"`
}

// Run wraps a keyset. The audit entry is in the journal, if there is one, before the
// file changes.
func (c *keysWrap) Run(ctx context.Context, s *settings, env environment) error {
	if err := checkActor(&c.Actor, "--reason", c.Reason); err != nil {
		return err
	}
	if err := s.given.Require("keyset-file"); err != nil {
		return err
	}
	if s.KeysetWrap == "" {
		return s.given.Wrong("keyset-wrap", "", "must be set: the key that wraps the keyset")
	}
	wrap := func(audit func(act string) error) error {
		file, err := s.keysetFile(nil)
		if err != nil {
			return err
		}
		change, err := file.Change(ctx)
		if errors.Is(err, keyset.ErrNotWrapped) {
			change, err = keyset.File{Path: file.Path}.Change(ctx)
		}
		if err != nil {
			return s.explainKeyset(err)
		}
		defer change.Cancel()
		if err := audit("keys.wrap"); err != nil {
			return fmt.Errorf("the keyset file is not changed, because it cannot be written to the audit trail: %w", err)
		}
		if err := change.Write(ctx, change.Set(), file.Wrap); err != nil {
			return errors.Join(&config.Error{Setting: "keyset-file", Value: s.KeysetFile, Want: "cannot be changed: " + config.ErrorText(err)}, audit("keys.wrap_failed"))
		}
		return nil
	}
	var err error
	if s.journalIsSealed() {
		err = withJournal(ctx, s, env, func(j journal.Journal) error {
			return wrap(func(act string) error {
				return j.AppendAudit(ctx, journal.AuditEntry{At: time.Now(), Actor: c.Actor, Act: act, Subject: s.KeysetWrap, Detail: strings.TrimSpace(s.KeysetFile + " " + c.Reason)})
			})
		})
	} else {
		err = wrap(func(string) error { return nil })
	}
	if err != nil {
		return err
	}
	return c.write(env.stdout, keysWrapJSON{s.KeysetFile, s.KeysetWrap}, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "The keys in %s are encrypted with %s. Copies of the file from before are not: delete them, or keep them as safe as the keys.\n", s.KeysetFile, s.KeysetWrap)
	})
}
