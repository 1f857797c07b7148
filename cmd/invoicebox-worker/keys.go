package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strings"
	"time"

	"invoicebox-worker/internal/app"
	"invoicebox-worker/internal/config"
	"invoicebox-worker/internal/credentials/openbao"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/secretfile"
)

// keys are the commands about the keyset.
type keys struct {
	Create keysCreate `cmd:"" settings:"keyset-file,journal-url" help:"Create a keyset in a new file. An existing file is never overwritten."`
	List   keysList   `cmd:"" settings:"keyset-file,journal-url" help:"List the keys, how many values of the journal need each, and which running workers have it. The keys themselves are never printed."`
	Rotate keysRotate `cmd:"" settings:"keyset-file,journal-url" help:"Add a key. When every running worker has read it from its keyset file, run the command again: it promotes the key, and new rows are written with it. A worker then seals the older values with it."`
	Wrap   keysWrap   `cmd:"" settings:"keyset-file,journal-url" help:"Encrypt the keys in the keyset file with the key of --keyset-wrap. If they are encrypted with it already, encrypt them again with its newest version."`
	Drop   keysDrop   `cmd:"" settings:"keyset-file,journal-url" help:"Remove a key from the keyset file. The command refuses it while a value or a running worker needs the key."`
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

// Run creates a keyset.
func (c *keysCreate) Run(ctx context.Context, s *settings, env environment) error {
	if err := s.given.Require("keyset-file"); err != nil {
		return err
	}
	file, err := s.keysetFile(nil)
	if err != nil {
		return err
	}
	set, err := file.Create(ctx)
	if errors.Is(err, fs.ErrExist) {
		return &config.Error{Setting: "keyset-file", Value: s.KeysetFile, Want: "exists already and is not replaced: what it sealed could never be opened again"}
	}
	if errors.Is(err, keyset.ErrWrapper) {
		return s.given.Wrong("keyset-wrap", s.KeysetWrap, "cannot wrap: "+strings.TrimPrefix(err.Error(), "keyset: the wrapper failed: "))
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

// keysetOf loads the keyset, and checks that it is the keyset of the journal.
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
	file, err := s.keysetFile(nil)
	if err != nil {
		return nil, err
	}
	set, err := file.Load(context.Background())
	return set, s.explainKeyset(err)
}

// keysetFile returns the file of the keyset, and what wraps it.
func (s *settings) keysetFile(logger *slog.Logger) (keyset.File, error) {
	f := keyset.File{Path: s.KeysetFile}
	if s.KeysetWrap == "" {
		return f, nil
	}
	if s.wrap == nil {
		v, err := s.vault(logger)
		if err != nil {
			return f, err
		}
		if v == nil {
			return f, s.given.Wrong("keyset-wrap", s.KeysetWrap, "needs a way to log in: --vault-token-file, --vault-role-id-file, --vault-kubernetes-role or --vault-jwt-role")
		}
		transit, err := openbao.NewTransit(openbao.Config{Address: v.Address, Namespace: v.Namespace, CAFile: v.CAFile, Login: v.Login, Logger: logger}, s.KeysetWrap)
		if err != nil {
			return f, s.given.Wrong("keyset-wrap", s.KeysetWrap, err.Error())
		}
		s.wrap = transit
	}
	f.Wrap = s.wrap
	return f, nil
}

// explainKeyset says what an operator can do about a keyset that cannot be loaded.
func (s *settings) explainKeyset(err error) error {
	wrong := func(right string) error {
		return s.given.Wrong("keyset-file", s.KeysetFile, right)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		if s.journalIsSealed() {
			return wrong("does not exist, and the journal " + s.JournalURL + " was sealed with it: restore your copy of the keyset. A keyset that is made now cannot open what the journal holds")
		}
		return wrong("does not exist; for a new journal `keys create` makes it")
	case errors.Is(err, keyset.ErrWrapped):
		return wrong("cannot be read: " + strings.TrimPrefix(err.Error(), "keyset: ") + "; set --keyset-wrap")
	case errors.Is(err, keyset.ErrNotWrapped):
		return wrong("is not wrapped, and --keyset-wrap is set: `keys wrap` wraps it")
	case errors.Is(err, keyset.ErrWrapper):
		return wrong("cannot be unwrapped: " + strings.TrimPrefix(err.Error(), "keyset: the wrapper failed: "))
	case errors.Is(err, keyset.ErrChanged):
		return wrong("cannot be changed: another change of it has begun; try again in a minute")
	case errors.Is(err, secretfile.ErrPermissions):
		return wrong("can be read by group or world; chmod 600 it")
	case errors.Is(err, secretfile.ErrNotRegular):
		return wrong("is not a regular file")
	case errors.Is(err, fs.ErrPermission):
		return wrong("cannot be read: permission denied")
	}
	if s.journalIsSealed() {
		return wrong("is damaged or no keyset, and the journal " + s.JournalURL + " was sealed with one: restore your copy of the keyset")
	}
	return wrong("is no keyset made by `keys create`")
}

// journalIsSealed reports whether a journal exists that was sealed with a keyset. Then the
// advice to create another keyset would be wrong: its secrets would be lost.
func (s *settings) journalIsSealed() bool {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return app.JournalIsSealed(ctx, s.JournalURL)
}
