// Package config reads the settings of the programs. Every setting is a flag, an
// environment variable and a member of a YAML file; a flag wins over a variable, a
// variable over the file, and the file over the default.
//
// The settings are the fields of [Worker] and [Sandbox]. The tags of a field are
// the only place with its name, default, bounds and help. One decoder reads a value,
// whichever source it comes from, and all values are checked before anything starts.
// A value that is wrong is an [Error], which names the setting, the source and what
// would be right.
//
// Bare names (WINDOW, LISTEN, CONCURRENCY) are never read from the environment:
// terminals and platforms set them for other purposes. Kubernetes injects variables
// named after a Service (INVOICEBOX_WORKER_PORT); they are recognized by their form
// and ignored.
package config
