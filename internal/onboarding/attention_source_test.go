package onboarding

import (
	"go/ast"
	"go/parser"
	"go/token"
	"testing"
)

// Every transition to attention in the source names a reason that has a row.
func TestEveryAttentionInTheSourceHasARow(t *testing.T) {
	declared := declaredReasons(t)
	found := 0
	for _, file := range []string{"perform.go", "settle.go", "planner.go"} {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if sel, ok := call.Fun.(*ast.SelectorExpr); !ok || sel.Sel.Name != "attention" {
				return true
			}
			name := call.Args[len(call.Args)-1].(*ast.Ident).Name
			found++
			if AttentionFailure(declared[name]) == "" {
				t.Errorf("%s: %s has no row with an event", file, name)
			}
			return true
		})
	}
	if found < 5 {
		t.Errorf("only %d calls found", found)
	}
}
