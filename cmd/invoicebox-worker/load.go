package main

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"invoicebox-worker/cmd/internal/worker"
)

// A lookup reads an environment variable, as os.LookupEnv does.
type lookup func(name string) (string, bool)

// variable names the environment variable of a setting.
func variable(setting string) string {
	return strings.ToUpper(strings.ReplaceAll(setting, "-", "_"))
}

// load completes settings after kong has read the command line and the
// defaults: flag over environment over file over default. An empty variable
// counts as not set.
func (s *settings) load(ctx *kong.Context, env lookup) error {
	onCommandLine := map[string]bool{}
	for _, p := range ctx.Path {
		if p.Flag != nil {
			onCommandLine[p.Flag.Name] = true
		}
	}
	var flags []*kong.Flag
	var known []string
	for _, f := range ctx.Model.Flags {
		if f.Tag.Type == "setting" {
			flags = append(flags, f)
			known = append(known, f.Name)
		}
	}
	s.given = map[string]string{}
	for name := range onCommandLine {
		s.given[name] = ""
	}
	for _, f := range flags {
		name := variable(f.Name)
		if raw, ok := env(name); ok && raw != "" && !onCommandLine[f.Name] {
			from := "the environment variable " + name
			f.Target.SetZero()
			if err := assign(flagRule(f.Tag), f.Target, raw); err != nil {
				return withSource(err, from)
			}
			s.given[f.Name] = from
		}
	}
	if s.Config == "" {
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
	if m, ok := members["accounts"]; ok {
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
			return &worker.SettingError{Setting: name, From: s.given[name], Right: "must not be set where the file has accounts; say it there"}
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
			return &worker.SettingError{Setting: name, Right: right[name]}
		}
	}
	return nil
}
