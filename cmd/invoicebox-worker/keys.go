package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"invoicebox-worker/internal/app"
	"invoicebox-worker/internal/config"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
)

// keys are the commands about the keyset.
type keys struct {
	Create keysCreate `cmd:"" settings:"keyset-file,journal-url" help:"Create a keyset in a new file. An existing file is never overwritten."`
	List   keysList   `cmd:"" settings:"keyset-file" help:"The keys that serve new rows. Never the keys themselves."`
}

type keysCreate struct{ outputFlag }

type keysJSON struct {
	File    string `json:"file"`
	Sealing string `json:"sealing"`
	Lookup  string `json:"lookup"`
	Warning string `json:"warning,omitzero"`
}

func keysView(path string, set *keyset.Set) keysJSON {
	sealing, lookup := set.PrimaryKeys()
	return keysJSON{File: path, Sealing: keyName(sealing), Lookup: keyName(lookup)}
}

func keyName(id keyset.KeyID) string { return fmt.Sprintf("%08x", uint32(id)) }

// Run makes a keyset.
func (c *keysCreate) Run(s *settings, env environment) error {
	if err := s.given.Require("keyset-file"); err != nil {
		return err
	}
	set, err := keyset.Create(s.KeysetFile)
	if errors.Is(err, fs.ErrExist) {
		return &config.Error{Setting: "keyset-file", Value: s.KeysetFile, Want: "exists already and is not replaced: what it sealed could never be opened again"}
	}
	if err != nil {
		return &config.Error{Setting: "keyset-file", Value: s.KeysetFile, Want: "cannot be made: " + config.ErrorText(err)}
	}
	v := keysView(s.KeysetFile, set)
	if s.journalIsSealed() {
		v.Warning = "the journal " + s.JournalURL + " was sealed with another keyset, and the new one cannot open it: restore your copy of that keyset, and use the new one only with a new journal"
	}
	return c.write(env.stdout, v, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "made %s, readable by its owner only: sealing key %s, look-up key %s\n", v.File, v.Sealing, v.Lookup)
		if v.Warning != "" {
			_, _ = fmt.Fprintln(w, "Warning: "+v.Warning)
		}
		_, _ = fmt.Fprintln(w, "Keep a copy in a safe place, apart from the journal's: without it every sealed secret is lost.")
	})
}

type keysList struct{ outputFlag }

// Run names the keys.
func (c *keysList) Run(s *settings, env environment) error {
	set, err := s.keyset()
	if err != nil {
		return err
	}
	v := keysView(s.KeysetFile, set)
	return c.write(env.stdout, []keyJSON{{"sealing", v.Sealing, true}, {"lookup", v.Lookup, true}}, func(w io.Writer) {
		printTable(w, []any{"use", "key", ""}, [][]any{{"sealing", v.Sealing, "primary"}, {"lookup", v.Lookup, "primary"}}, "")
	})
}

type keyJSON struct {
	Use     string `json:"use"`
	ID      string `json:"id"`
	Primary bool   `json:"primary"`
}

// keysetOf loads the keyset for the rows of a journal, whose keyset it has to be.
func (s *settings) keysetOf(ctx context.Context, j journal.Journal) (*keyset.Set, error) {
	keys, err := s.keyset()
	if err != nil {
		return nil, err
	}
	return app.KeysetFits(ctx, j, keys)
}

// keyset loads the keyset.
func (s *settings) keyset() (*keyset.Set, error) {
	if err := s.given.Require("keyset-file"); err != nil {
		return nil, err
	}
	set, err := keyset.Load(s.KeysetFile)
	wrong := func(right string) error {
		return s.given.Wrong("keyset-file", s.KeysetFile, right)
	}
	switch {
	case err == nil:
		return set, nil
	case errors.Is(err, fs.ErrNotExist):
		if s.journalIsSealed() {
			return nil, wrong("does not exist, and the journal " + s.JournalURL + " was sealed with it: restore your copy of the keyset. A keyset that is made now cannot open what the journal holds")
		}
		return nil, wrong("does not exist; for a new journal `keys create` makes it")
	case errors.Is(err, keyset.ErrPermissions):
		return nil, wrong("can be read by group or world; chmod 600 it")
	case errors.Is(err, fs.ErrPermission), errors.Is(err, fs.ErrInvalid):
		return nil, wrong("cannot be read: " + config.ErrorText(err))
	}
	if s.journalIsSealed() {
		return nil, wrong("is damaged or no keyset, and the journal " + s.JournalURL + " was sealed with one: restore your copy of the keyset")
	}
	return nil, wrong("is no keyset made by `keys create`")
}

// journalIsSealed tells whether there is a journal that needs the keyset it was
// made with: advice to make another one would lose all that it holds.
func (s *settings) journalIsSealed() bool {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return app.JournalIsSealed(ctx, s.JournalURL)
}
