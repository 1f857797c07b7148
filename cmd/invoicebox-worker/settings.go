package main

import (
	"invoicebox-worker/internal/app"
	"invoicebox-worker/internal/config"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/secretfile"
)

// settings are the settings of the service with the files that were opened for them.
type settings struct {
	config.Worker `embed:""`

	given  config.Given                `kong:"-"`
	files  []app.WatchedFile           `kong:"-"` // that the settings name; the service reads them again when they change
	tokens map[string]*secretfile.File `kong:"-"`
	server *app.Vault                  `kong:"-"` // as vault found it
	wrap   keyset.Wrapper              `kong:"-"` // as keysetFile made it
}

// settingsProgram reads the settings.
func settingsProgram() config.Program {
	return config.Program{Prefix: config.WorkerPrefix, Checks: map[string]func(string) string{"journal": app.CheckJournalURL}}
}
