package config

import (
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// A Program reads the settings of one program. It is the [kong.Mapper] of their
// flags, which have the type "setting".
type Program struct {
	// Prefix begins the name of every environment variable.
	Prefix string
	// Checks are validators that a check tag can name, besides those of this package.
	// They return what would be right, or "" for a value that is right.
	Checks map[string]func(text string) (want string)
}

// Mapper makes kong decode fields of the type "setting" with p.
func (p Program) Mapper() kong.Option { return kong.NamedMapper("setting", p) }

// Variable is the environment variable of a setting.
func (p Program) Variable(setting string) string { return newVariables(p.Prefix, nil).name(setting) }

// Given says which settings were set, and where.
type Given struct {
	prefix  string
	sources map[string]string // by setting; "" is the command line
	// NearMisses are variables that belong to no setting and resemble that of one that
	// the command uses.
	NearMisses []NearMiss
	// Accounts are the accounts of the file.
	Accounts []Account
}

// Has reports whether a setting was set.
func (g *Given) Has(setting string) bool {
	_, ok := g.sources[setting]
	return ok
}

// Wrong returns the error of a setting that proves wrong when it is used.
func (g *Given) Wrong(setting, value, want string) error {
	return &Error{Setting: setting, Value: value, Want: want, Source: g.sources[setting]}
}

// Require returns an error for the first of the settings that was not set.
func (g *Given) Require(settings ...string) error {
	want := map[string]string{
		"kafka-brokers": "must be set: one or more host:port, separated by commas",
		"keyset-file":   "must be set: the file that `keys create` made",
		"partner-id":    "must be set, or accounts in the file given with --config",
		"token-file":    "must be set: the file with the account's API token",
	}
	for _, name := range settings {
		if !g.Has(name) {
			return &Error{Setting: name, Want: want[name] + "; the environment variable is " + newVariables(g.prefix, nil).name(name)}
		}
	}
	return nil
}

// Used returns the settings among flags that a command reads. Its tag settings
// names them; "*" stands for all. The tag with of a setting names others that are read
// with it.
func Used(command *kong.Node, flags []*kong.Flag) []*kong.Flag {
	if command == nil {
		return nil
	}
	names := strings.Split(command.Tag.Get("settings"), ",")
	if names[0] == "" {
		return nil
	}
	for i := 0; i < len(names); i++ {
		for _, f := range flags {
			if with := f.Tag.Get("with"); f.Name == names[i] && with != "" {
				names = append(names, strings.Split(with, ",")...)
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(flags), func(f *kong.Flag) bool {
		return f.Tag.Type != "setting" || names[0] != "*" && f.Name != "config" && !slices.Contains(names, f.Name)
	})
}

// Load completes settings after kong has read the command line and the defaults.
// Only the settings in used are read, so that a wrong value of another one does not
// stop a command. An empty variable counts as not set.
func (p Program) Load(ctx *kong.Context, used []*kong.Flag, environ []string) (Given, error) {
	given := Given{prefix: p.Prefix, sources: map[string]string{}}
	for _, path := range ctx.Path {
		if path.Flag != nil {
			given.sources[path.Flag.Name] = ""
		}
	}
	var known, names []string
	for _, f := range ctx.Model.Flags {
		if f.Tag.Type == "setting" {
			known = append(known, f.Name)
		}
	}
	for _, f := range used {
		names = append(names, f.Name)
	}
	variables := newVariables(p.Prefix, environ)
	if err := p.loadEnvironment(variables, used, &given); err != nil {
		return given, err
	}
	for _, near := range variables.nearMisses(known) {
		if slices.Contains(names, near.Setting) {
			given.NearMisses = append(given.NearMisses, near)
		}
	}
	i := slices.IndexFunc(used, func(f *kong.Flag) bool { return f.Name == "config" })
	if i < 0 || used[i].Target.String() == "" {
		return given, nil
	}
	known = slices.DeleteFunc(known, func(name string) bool { return name == "config" })
	err := p.loadFile(used[i].Target.String(), known, used, &given)
	return given, err
}

func (p Program) loadEnvironment(variables variables, used []*kong.Flag, given *Given) error {
	for _, f := range used {
		raw, ok := variables.lookup(f.Name)
		if !ok || given.Has(f.Name) {
			continue
		}
		values := []string{raw}
		if f.Tag.Get("sep") == "none" {
			values = strings.Fields(raw)
		}
		source := "environment variable " + variables.name(f.Name)
		f.Target.SetZero()
		for _, value := range values {
			if err := p.assign(newRule(f.Name, f.Tag), f.Target, value); err != nil {
				return withSource(err, source)
			}
		}
		given.sources[f.Name] = source
	}
	return nil
}

func (p Program) loadFile(path string, known []string, used []*kong.Flag, given *Given) error {
	readsAccounts := slices.ContainsFunc(used, func(f *kong.Flag) bool { return f.Name == "partner-id" })
	if slices.Contains(known, "partner-id") {
		known = append(known, "accounts")
	}
	members, err := readFile(path, known)
	if err != nil {
		return err
	}
	// In the order of the flags, so that of several mistakes always the same is reported.
	for _, f := range used {
		m, ok := members[f.Name]
		if !ok {
			continue
		}
		target, overridden := f.Target, given.Has(f.Name)
		if overridden {
			// A mistake in the file is reported even if the value is not used.
			target = reflect.New(f.Target.Type()).Elem()
		}
		if err := p.assignMember(newRule(f.Name, f.Tag), target, m); err != nil {
			return err
		}
		if !overridden {
			given.sources[f.Name] = m.source
		}
	}
	if m, ok := members["accounts"]; ok && readsAccounts {
		if given.Accounts, err = p.readAccounts(m, path); err != nil {
			return err
		}
	}
	return given.oneDescription()
}

// oneDescription refuses accounts that are described in two ways.
func (g *Given) oneDescription() error {
	if len(g.Accounts) == 0 {
		return nil
	}
	for _, name := range []string{"partner-id", "signing-algorithm", "signing-encoding", "signing-key-file", "token-file"} {
		if source, ok := g.sources[name]; ok {
			return &Error{Setting: name, Source: source, Want: "must not be set if the file has accounts; set it there"}
		}
	}
	return nil
}
