package main

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"invoicebox-worker/internal/app"
	"invoicebox-worker/internal/envvar"
)

// prefix begins the environment variable of every setting.
const prefix = "INVOICEBOX_WORKER_"

// used picks from the program's flags the settings that a command reads, by its
// tag; "*" stands for all.
func used(command *kong.Node, all []*kong.Flag) []*kong.Flag {
	if command == nil {
		return nil
	}
	names := strings.Split(command.Tag.Get("settings"), ",")
	if names[0] == "" {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(all), func(f *kong.Flag) bool {
		return f.Tag.Type != "setting" || names[0] != "*" && f.Name != "config" && !slices.Contains(names, f.Name)
	})
}

// load completes settings after kong has read the command line and the
// defaults: flag over environment over file over default. Only the settings
// that the command uses are read, so that a wrong value of another one does not
// stop it. An empty variable counts as not set.
func (s *settings) load(ctx *kong.Context, environ []string) error {
	onCommandLine := map[string]bool{}
	for _, p := range ctx.Path {
		if p.Flag != nil {
			onCommandLine[p.Flag.Name] = true
		}
	}
	var known []string
	for _, f := range ctx.Model.Flags {
		if f.Tag.Type == "setting" {
			known = append(known, f.Name)
		}
	}
	flags := used(ctx.Selected(), ctx.Model.Flags)
	s.given = map[string]string{}
	for name := range onCommandLine {
		s.given[name] = ""
	}
	variables := envvar.New(prefix, environ)
	for _, f := range flags {
		if raw, ok := variables.Lookup(f.Name); ok && !onCommandLine[f.Name] {
			from := "the environment variable " + variables.Name(f.Name)
			f.Target.SetZero()
			if err := assign(flagRule(f.Tag), f.Target, raw); err != nil {
				return withSource(err, from)
			}
			s.given[f.Name] = from
		}
	}
	var names []string
	for _, f := range flags {
		names = append(names, f.Name)
	}
	for _, near := range variables.NearMisses(known) {
		if slices.Contains(names, near.Setting) {
			s.nearMisses = append(s.nearMisses, near)
		}
	}
	if s.Config == "" || len(flags) == 0 {
		return nil
	}
	known = slices.DeleteFunc(known, func(name string) bool { return name == "config" })
	members, err := readFile(s.Config, append(known, "accounts"))
	if err != nil {
		return err
	}
	// In order of the flags, so that of several mistakes always the same one is told.
	for _, f := range flags {
		m, ok := members[f.Name]
		if !ok {
			continue
		}
		target := f.Target
		_, overridden := s.given[f.Name]
		if overridden {
			// A mistake in the file is told even where the file has no say.
			target = reflect.New(f.Target.Type()).Elem()
		}
		if err := assignMember(flagRule(f.Tag), target, m); err != nil {
			return err
		}
		if !overridden {
			s.given[f.Name] = m.from
		}
	}
	if m, ok := members["accounts"]; ok && slices.Contains(names, "partner-id") {
		if s.AccountList, err = readAccounts(m, s.Config); err != nil {
			return err
		}
	}
	return s.oneDescription()
}

// oneDescription refuses accounts that are described in two ways.
func (s *settings) oneDescription() error {
	if len(s.AccountList) == 0 {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(s.given)) {
		switch name {
		case "partner-id", "token-file", "signing-key-file", "signing-algorithm", "signing-encoding":
			return &app.SettingError{Setting: name, From: s.given[name], Right: "must not be set where the file has accounts; say it there"}
		}
	}
	return nil
}

// need tells about the first of the named settings that has no value.
func (s *settings) need(names ...string) error {
	right := map[string]string{
		"kafka-brokers": "must be set: one or more host:port, separated by commas",
		"keyset-file":   "must be set: the file that `keys create` made",
		"partner-id":    "must be set, or accounts in the file given with --config",
		"token-file":    "must be set: the file with the account's API token",
	}
	for _, name := range names {
		if _, ok := s.given[name]; !ok {
			return &app.SettingError{Setting: name, Right: right[name] + "; the environment variable is " + envvar.New(prefix, nil).Name(name)}
		}
	}
	return nil
}
