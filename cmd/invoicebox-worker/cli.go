package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	"github.com/alecthomas/kong"

	"invoicebox-worker/internal/config"
	"invoicebox-worker/internal/visible"
)

// The exit statuses.
const (
	exitDone   = 0
	exitFailed = 1 // also for a setting with a wrong value
	exitUsage  = 2 // unknown commands and flags, missing arguments
)

// environment is what the program has besides its arguments.
type environment struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	environ        []string // as os.Environ
	surviveOutputs func()   // called by commands that the end of whoever reads their output must not end; nil: not needed
}

// commandLine is the grammar. The tag settings names the settings that a command
// uses: its help shows them, and only they are read from environment and file.
// As flags all settings are accepted by all commands.
type commandLine struct {
	settings `embed:""`

	ShowVersion kong.VersionFlag `name:"version" group:"general" help:"Print the version and exit."`

	Run        runCommand   `cmd:"" settings:"*" help:"The service. SIGTERM drains and exits 0, a second signal ends at once."`
	Check      checkCommand `cmd:"" settings:"*" help:"Try everything that run needs, and leave nothing behind."`
	Topics     topicsGroup  `cmd:"" help:"The topics of the contract."`
	Operations operations   `cmd:"" help:"The work, and the attention queue."`
	Accounts   accounts     `cmd:"" help:"The partner accounts and their circuit breakers."`
	Shops      shops        `cmd:"" help:"One shop's history, from first event to published result."`
	Events     events       `cmd:"" help:"Published results."`
	Letters    deadLetters  `cmd:"" name:"dead-letters" help:"Records that cannot be used."`
	Journal    journalGroup `cmd:"" help:"Copies of the journal, its recovery after a restore, and its move to another database."`
	Keys       keys         `cmd:"" help:"The keyset that seals secrets."`
	Secrets    storeGroup   `cmd:"" name:"credentials" help:"The store of the shops' credentials."`
	Resolve    resolve      `cmd:"" settings:"journal-url,keyset-file,vault-address,vault-namespace,vault-ca-file,vault-mount,vault-token-file,vault-role-id-file,vault-secret-id-file,vault-kubernetes-role,vault-jwt-role,vault-jwt-file,vault-auth-mount" help:"Print the secret behind a reference. It is written to the audit trail."`
	Audit      audit        `cmd:"" help:"The audit trail: who did what, and whether it is complete."`
	Support    support      `cmd:"" help:"Data for support."`
	Version    versionShow  `cmd:"" help:"Print the version."`
	Completion completion   `cmd:"" help:"Print the completion of commands and flags for a shell: bash, zsh or fish."`
}

const description = `Invites shops to Invoicebox and activates them: events in from Kafka, calls to Invoicebox, events out to Kafka.

Every setting is a flag, an environment variable (INVOICEBOX_WORKER_ and the flag in capitals, dashes as underscores: INVOICEBOX_WORKER_KAFKA_BROKERS) and a member of the YAML file given with --config. A flag wins over a variable, a variable over the file, the file over the default. An empty variable counts as not set. A command reads only the settings that it uses. Secrets come from files that only their owner can read, and are read again when they change. More accounts than one stand in the file, under accounts:, each with name, partner-id, token-file and, where needed, signing-key-file, signing-algorithm, signing-encoding, requests-per-window, window, credentials-store.

Exit status: 0 done, 1 failed or a setting has a wrong value, 2 wrong usage (unknown command or flag, missing argument).`

// run is the program without signals and exit. Output that could not be written is a
// failure, whatever was done.
func run(ctx context.Context, args []string, env environment) int {
	out := &checkedOutput{Writer: env.stdout}
	env.stdout = out
	code := perform(ctx, args, env)
	if code == exitDone && out.err != nil {
		return fail(env, exitFailed, out.err)
	}
	return code
}

func perform(ctx context.Context, args []string, env environment) int {
	var cli commandLine
	helped := false
	parser, err := kong.New(&cli,
		kong.Name("invoicebox-worker"),
		kong.Description(description),
		kong.Writers(env.stdout, env.stderr),
		kong.Exit(func(int) { helped = true }),
		settingsProgram().Mapper(),
		kong.Help(printHelp),
		kong.Vars{"version": versionLine(versionNow())},
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true, WrapUpperBound: 110}),
		kong.ExplicitGroups([]kong.Group{
			{Key: "command", Title: "Of this command:"},
			{Key: "general", Title: "General settings:"},
			{Key: "kafka", Title: "Kafka:"},
			{Key: "journal", Title: "Journal and keys:"},
			{Key: "invoicebox", Title: "Invoicebox:"},
			{Key: "work", Title: "Events and credentials:"},
			{Key: "vault", Title: "OpenBao and Vault:"},
			{Key: "time", Title: "Time:"},
		}),
	)
	if err != nil {
		return fail(env, exitFailed, err)
	}
	if len(args) == 0 {
		args = []string{"--help"}
		if _, err := parser.Parse(args); !helped {
			return fail(env, exitFailed, err)
		}
		return fail(env, exitUsage, errors.New("a command is needed"))
	}
	kctx, err := parser.Parse(args)
	if output, ok := errors.AsType[*outputError](err); ok {
		return fail(env, exitFailed, output)
	}
	if helped {
		return exitDone
	}
	if setting, ok := errors.AsType[*config.Error](err); ok {
		if checksAsJSON(args) {
			return settingsCheck(env, setting)
		}
		return fail(env, exitFailed, setting)
	}
	if err != nil {
		return fail(env, exitUsage, explainUsage(err))
	}
	if err := checkEmptyFlags(kctx); err != nil {
		return fail(env, exitUsage, err)
	}
	used := config.Used(kctx.Selected(), kctx.Model.Flags)
	if cli.given, err = settingsProgram().Load(kctx, used, env.environ); err != nil {
		if checksAsJSON(args) {
			return settingsCheck(env, err)
		}
		return fail(env, exitFailed, err)
	}
	if kctx.Command() != "run" && kctx.Command() != "check" { // they say it in their own form
		for _, near := range cli.given.NearMisses {
			_, _ = fmt.Fprintf(env.stderr, "invoicebox-worker: warning: %s\n", near)
		}
	}
	kctx.BindTo(ctx, (*context.Context)(nil))
	if err := kctx.Run(&cli.settings, env); err != nil {
		if _, ok := errors.AsType[*usageError](err); ok {
			return fail(env, exitUsage, err)
		}
		return fail(env, exitFailed, err)
	}
	return exitDone
}

// checkEmptyFlags refuses a flag of a command with an empty value. A script gives it when a
// variable is not set, and the command would choose all rows instead of some. Free text and
// --actor may be empty.
func checkEmptyFlags(kctx *kong.Context) error {
	for _, p := range kctx.Path {
		f := p.Flag
		if f == nil || f.Group == nil || f.Group.Key != "command" || f.PlaceHolder == "TEXT" || f.Name == "actor" {
			continue
		}
		if f.Target.Kind() == reflect.String && f.Target.Len() == 0 {
			return &usageError{"--" + f.Name + " must not be empty"}
		}
	}
	return nil
}

// keepGoing is for commands that go on when the reader of their output has ended.
func (e environment) keepGoing() {
	if e.surviveOutputs != nil {
		e.surviveOutputs()
	}
}

// A usageError is a wrong argument that kong does not detect.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

// fail writes the error as the last line.
func fail(env environment, code int, err error) int {
	text := visible.Text(strings.ReplaceAll(err.Error(), "\n", "\n  "))
	_, _ = fmt.Fprintf(env.stderr, "invoicebox-worker: %s\n", text)
	return code
}
