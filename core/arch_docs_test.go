package core_test

import (
	"go/ast"
	"go/token"
)

// checkDocs finds exported names without a comment: functions, methods on exported types, types, and constants and
// variables, which one comment over their group documents.
func checkDocs(s *source, report reporter) {
	for _, d := range s.ast.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && d.Doc == nil && exportedReceiver(d) {
				report(ruleDoc, d, "%s has no comment", d.Name.Name)
			}
		case *ast.GenDecl:
			if d.Tok != token.IMPORT {
				checkGroup(d, report)
			}
		}
	}
}

func checkGroup(d *ast.GenDecl, report reporter) {
	for _, spec := range d.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			lone := !d.Lparen.IsValid() && d.Doc != nil
			if spec.Name.IsExported() && spec.Doc == nil && spec.Comment == nil && !lone {
				report(ruleDoc, spec, "%s has no comment", spec.Name.Name)
			}
		case *ast.ValueSpec:
			for _, n := range spec.Names {
				if n.IsExported() && d.Doc == nil && spec.Doc == nil && spec.Comment == nil {
					report(ruleDoc, n, "%s has no comment", n.Name)
				}
			}
		}
	}
}

func exportedReceiver(f *ast.FuncDecl) bool {
	if f.Recv == nil {
		return true
	}
	t := f.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return false
		}
	}
}

// checkRows holds the use of database/sql in the one package that has it: a QueryRow is scanned where it stands, rows
// are closed in the function that asked for them, and no connection, row or transaction is in an exported signature.
// Linters do not see the first, which gives its connection back to nobody.
func checkRows(s *source, report reporter) {
	if name := s.localNameOf(goSQL); name == "" {
		return
	}
	scanned := map[ast.Node]bool{}
	ast.Inspect(s.ast, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == "Scan" {
			scanned[sel.X] = true
		}
		if call, ok := n.(*ast.CallExpr); ok && calls(call, "QueryRow", "QueryRowContext") && !scanned[call] {
			report(ruleRow, call, "QueryRow without Scan in the same expression keeps its connection")
		}
		return true
	})
	for _, d := range s.ast.Decls {
		if f, ok := d.(*ast.FuncDecl); ok {
			checkRowsClosed(f, report)
			checkSignature(s, f, report)
		}
	}
}

func (s *source) localNameOf(p string) string {
	for name, imported := range s.imports {
		if imported == p {
			return name
		}
	}
	return ""
}

func calls(c *ast.CallExpr, names ...string) bool {
	sel, ok := c.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	for _, n := range names {
		if sel.Sel.Name == n {
			return true
		}
	}
	return false
}

// checkRowsClosed wants a Close of the same variable in the function in which a Query is assigned.
func checkRowsClosed(f *ast.FuncDecl, report reporter) {
	open, closed := map[string]ast.Node{}, map[string]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			call, ok := n.Rhs[0].(*ast.CallExpr)
			if ok && len(n.Lhs) == 2 && calls(call, "Query", "QueryContext") {
				open[lastName(n.Lhs[0])] = n
			}
		case *ast.SelectorExpr:
			if n.Sel.Name == "Close" {
				closed[lastName(n.X)] = true
			}
		}
		return true
	})
	for name, at := range open {
		if !closed[name] {
			report(ruleRow, at, "%s is not closed in the function that asked for it", name)
		}
	}
}

func checkSignature(s *source, f *ast.FuncDecl, report reporter) {
	if !f.Name.IsExported() || !exportedReceiver(f) {
		return
	}
	ast.Inspect(f.Type, func(n ast.Node) bool {
		if e, ok := n.(ast.Expr); ok && s.is(e, goSQL, "Row", "Rows", "Tx", "Conn", "Stmt", "DB") {
			report(ruleRow, n, "%s lends what can be leaked", f.Name.Name)
		}
		return true
	})
}
