package config

import (
	"fmt"
	"reflect"
)

// An Effective is a setting as a command uses it.
type Effective struct {
	Name   string
	Value  string // without the passwords of URLs
	Source string // "default", "command line", or the variable or the place in the file
}

// Effective returns all settings of the worker, in the order of the help. Their values
// name the files with secrets; no secret is a setting.
func (g *Given) Effective(w *Worker) []Effective {
	var all []Effective
	value := reflect.ValueOf(w).Elem()
	for i := range value.NumField() {
		name := value.Type().Field(i).Tag.Get("name")
		source, set := g.sources[name]
		switch {
		case !set:
			source = "default"
		case source == "":
			source = "command line"
		}
		all = append(all, Effective{Name: name, Value: withoutPassword(fmt.Sprint(value.Field(i).Interface())), Source: source})
	}
	return all
}
