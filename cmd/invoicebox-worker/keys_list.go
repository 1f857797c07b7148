package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"invoicebox-worker/internal/app"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
)

type keysList struct{ outputFlag }

type keyJSON struct {
	Use     string `json:"use"` // sealing or lookup
	ID      string `json:"id"`
	State   string `json:"state"` // added, primary, old, missing
	Primary bool   `json:"primary"`
	// The rest is there if the journal is.
	Values  *int64          `json:"values,omitzero"` // of the journal that need the key
	Columns []keyColumnJSON `json:"columns,omitzero"`
	Has     []string        `json:"has,omitzero"`   // running workers that have it
	Lacks   []string        `json:"lacks,omitzero"` // those that do not
}

type keyColumnJSON struct {
	Table  string `json:"table"`
	Column string `json:"column"`
	Values int64  `json:"values"`
}

// keyMissing is the state of a key that values need and the file does not have.
const keyMissing = "missing"

// A keyStatus is a key with the values and workers that need it.
type keyStatus struct {
	journal.KeyRows
	State      string
	Has, Lacks []string
}

// keyStatuses describes the keys of a keyset, and the keys that are missing in it.
func keyStatuses(ctx context.Context, j journal.Journal, set *keyset.Set) ([]keyStatus, error) {
	used, err := j.UsedKeys(ctx)
	if err != nil {
		return nil, err
	}
	holders, err := app.KeyHolders(ctx, j)
	if err != nil {
		return nil, err
	}
	var list []keyStatus
	var keys []journal.Key
	for _, k := range set.List() {
		keys = append(keys, journalKey(k))
		list = append(list, keyStatus{State: string(k.State)})
	}
	for _, k := range journal.Without(used, keys) {
		keys = append(keys, k)
		list = append(list, keyStatus{State: keyMissing})
	}
	rows, err := j.KeyRows(ctx, keys)
	if err != nil {
		return nil, err
	}
	for i := range list {
		list[i].KeyRows = rows[i]
		for _, h := range holders {
			if slices.Contains(h.Has, keys[i]) {
				list[i].Has = append(list[i].Has, h.Owner)
			} else {
				list[i].Lacks = append(list[i].Lacks, h.Owner)
			}
		}
	}
	return slices.DeleteFunc(list, func(k keyStatus) bool { return k.State == keyMissing && k.Rows == 0 }), nil
}

func journalKey(k keyset.Key) journal.Key {
	return journal.Key{Purpose: journal.KeyPurpose(k.Purpose), ID: uint32(k.ID)}
}

// Words for the purposes, as the commands take and print them.
const (
	useSealing = "sealing"
	useLookup  = "lookup"
)

func keyUse(p journal.KeyPurpose) string {
	if p == journal.KeySealing {
		return useSealing
	}
	return useLookup
}

// Run lists the keys.
func (c *keysList) Run(ctx context.Context, s *settings, env environment) error {
	set, err := s.keyset()
	if err != nil {
		return err
	}
	if !s.journalIsSealed() {
		var views []keyJSON
		for _, k := range set.List() {
			views = append(views, keyJSON{Use: keyUse(journal.KeyPurpose(k.Purpose)), ID: keyName(k.ID), State: string(k.State), Primary: k.State == keyset.Primary})
		}
		return c.write(env.stdout, views, func(w io.Writer) {
			var rows [][]any
			for _, v := range views {
				rows = append(rows, []any{v.Use, v.ID, v.State})
			}
			printTable(w, []any{"use", nowrap("key"), "state"}, rows, "")
			_, _ = fmt.Fprintln(w, s.JournalURL+" does not exist, or is new.")
		})
	}
	return withJournal(ctx, s, env, func(j journal.Journal) error {
		list, err := keyStatuses(ctx, j, set)
		if err != nil {
			return err
		}
		var views []keyJSON
		for _, k := range list {
			v := keyJSON{Use: keyUse(k.Purpose), ID: keyName(keyset.KeyID(k.ID)), State: k.State, Primary: k.State == string(keyset.Primary), Values: &k.Rows, Has: k.Has, Lacks: k.Lacks}
			for _, col := range k.Columns {
				v.Columns = append(v.Columns, keyColumnJSON{col.Table, col.Column, col.Rows})
			}
			views = append(views, v)
		}
		return c.write(env.stdout, views, func(w io.Writer) {
			var rows [][]any
			for _, k := range list {
				workers := "all"
				switch {
				case len(k.Has)+len(k.Lacks) == 0:
					workers = "no worker runs"
				case len(k.Lacks) > 0:
					workers = "not " + strings.Join(k.Lacks, ", ")
				}
				rows = append(rows, []any{keyUse(k.Purpose), keyName(keyset.KeyID(k.ID)), k.State, k.Rows, describeColumns(k.Columns), workers})
			}
			printTable(w, []any{"use", nowrap("key"), "state", "values", "of", "workers that have it"}, rows, "")
		})
	})
}

// describeColumns says which columns need a key.
func describeColumns(columns []journal.ColumnRows) string {
	words := make([]string, len(columns))
	for i, c := range columns {
		words[i] = fmt.Sprintf("%s.%s %d", c.Table, c.Column, c.Rows)
	}
	return strings.Join(words, ", ")
}
