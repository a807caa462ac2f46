package core_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path"
	"slices"
	"strings"
)

// Names of the rules, as they stand in a fault.
const (
	ruleParse     = "parse"
	ruleLine      = "line"
	ruleName      = "name"
	ruleImport    = "import"
	ruleDot       = "dot-import"
	ruleOwner     = "owner"
	ruleGo        = "go"
	ruleRecover   = "recover"
	ruleExit      = "exit"
	ruleInit      = "init"
	ruleLength    = "length"
	ruleFile      = "file"
	ruleDoc       = "doc"
	ruleInterface = "interface"
	rulePrint     = "print"
	ruleRow       = "row"
)

const (
	maxFunction  = 70
	maxFile      = 500
	maxInterface = 4
)

// fault is one broken rule at one place.
type fault struct{ rule, where, text string }

func (f fault) String() string { return f.where + ": " + f.rule + ": " + f.text }

// reporter takes the rule that a node breaks, and how.
type reporter func(rule string, at ast.Node, format string, args ...any)

// source is one parsed file and what the rules need to know of it.
type source struct {
	name, pkg string // slash paths relative to the module
	text      string
	fset      *token.FileSet
	ast       *ast.File
	line      line
	test      bool
	imports   map[string]string // local name to path

	groups map[string]bool // names in this package that are a sync.WaitGroup
	faces  map[string]*ast.InterfaceType
}

// exempt is true of tests, generated files and programs that only tests run.
func (s *source) exempt() bool { return s.test || s.line.onlyRun || ast.IsGenerated(s.ast) }

// check holds all rules over a tree of files, given by slash path, and returns the faults in order of place.
func check(files map[string]string) (faults []fault) {
	packages := map[string][]*source{}
	fset := token.NewFileSet()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		tree, err := parser.ParseFile(fset, name, files[name], parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			faults = append(faults, fault{ruleParse, name, err.Error()})
			continue
		}
		s := &source{name: name, pkg: path.Dir(name), text: files[name], fset: fset, ast: tree, test: strings.HasSuffix(name, "_test.go")}
		s.imports = localNames(tree)
		packages[s.pkg] = append(packages[s.pkg], s)
	}
	for _, pkg := range slices.Sorted(maps.Keys(packages)) {
		faults = append(faults, checkPackage(pkg, packages[pkg])...)
	}
	return faults
}

func checkPackage(pkg string, list []*source) (faults []fault) {
	l, ok := lineOf(pkg)
	if !ok {
		faults = append(faults, fault{ruleLine, pkg, "this package has no line in the table of arch_test.go"})
	}
	if slices.Contains([]string{"manager", "util", "utils", "common", "helper", "helpers", "base"}, path.Base(pkg)) {
		faults = append(faults, fault{ruleName, pkg, "the name of this package has no subject"})
	}
	groups, faces := map[string]bool{}, map[string]*ast.InterfaceType{}
	for _, s := range list {
		s.line, s.groups, s.faces = l, groups, faces
		gather(s)
	}
	for _, s := range list {
		report := func(rule string, at ast.Node, format string, args ...any) {
			faults = append(faults, fault{rule, fmt.Sprintf("%s:%d", s.name, s.fset.Position(at.Pos()).Line), fmt.Sprintf(format, args...)})
		}
		if ok {
			checkImports(s, report)
		}
		if !s.exempt() {
			checkFile(s, report)
		}
	}
	return faults
}

// localNames gives each import's name in the file. A package is taken to be named by its path's last element.
func localNames(f *ast.File) map[string]string {
	names := map[string]string{}
	for _, spec := range f.Imports {
		p := strings.Trim(spec.Path.Value, `"`)
		name := path.Base(p)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = p
	}
	return names
}

// gather notes the package's interfaces, and its variables, fields and embedded fields that are a sync.WaitGroup.
func gather(s *source) {
	note := func(names []*ast.Ident, typ ast.Expr) {
		typ = bare(typ)
		if !s.is(typ, "sync", "WaitGroup") {
			return
		}
		if len(names) == 0 {
			s.groups["WaitGroup"] = true
		}
		for _, n := range names {
			s.groups[n.Name] = true
		}
	}
	ast.Inspect(s.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Field:
			note(n.Names, n.Type)
		case *ast.ValueSpec:
			note(n.Names, n.Type)
			for i, v := range n.Values {
				note(n.Names[min(i, len(n.Names)-1):], v)
			}
		case *ast.AssignStmt:
			for i, v := range n.Rhs {
				if id, ok := n.Lhs[min(i, len(n.Lhs)-1)].(*ast.Ident); ok {
					note([]*ast.Ident{id}, v)
				}
			}
		case *ast.TypeSpec:
			if face, ok := n.Type.(*ast.InterfaceType); ok {
				s.faces[n.Name.Name] = face
			}
			if st, ok := n.Type.(*ast.StructType); ok && embeds(s, st) {
				s.groups[n.Name.Name] = true
			}
		}
		return true
	})
}

// bare is T of *T, T{}, &T{} and new(T).
func bare(e ast.Expr) ast.Expr {
	switch x := e.(type) {
	case *ast.StarExpr:
		return bare(x.X)
	case *ast.UnaryExpr:
		return bare(x.X)
	case *ast.CompositeLit:
		return bare(x.Type)
	case *ast.CallExpr:
		if id, ok := x.Fun.(*ast.Ident); ok && id.Name == "new" && len(x.Args) == 1 {
			return bare(x.Args[0])
		}
	}
	return e
}

func embeds(s *source, st *ast.StructType) bool {
	return slices.ContainsFunc(st.Fields.List, func(f *ast.Field) bool {
		return len(f.Names) == 0 && s.is(f.Type, "sync", "WaitGroup")
	})
}

// is says whether the expression is the name in the package with the given path.
func (s *source) is(e ast.Expr, pkg string, names ...string) bool {
	sel, ok := e.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	x, ok := sel.X.(*ast.Ident)
	return ok && s.imports[x.Name] == pkg && slices.Contains(names, sel.Sel.Name)
}

func checkFile(s *source, report reporter) {
	if n := strings.Count(s.text, "\n"); n > maxFile {
		report(ruleFile, s.ast, "%d lines, the limit is %d", n, maxFile)
	}
	checkDocs(s, report)
	for _, d := range s.ast.Decls {
		checkDecl(s, d, report)
	}
	ast.Inspect(s.ast, func(n ast.Node) bool {
		checkNode(s, n, report)
		return true
	})
	checkRows(s, report)
}

func checkDecl(s *source, d ast.Decl, report reporter) {
	f, ok := d.(*ast.FuncDecl)
	if !ok {
		ast.Inspect(d, func(n ast.Node) bool {
			if lit, ok := n.(*ast.FuncLit); ok {
				checkLength(s, lit, "a function literal", report)
			}
			return true
		})
		return
	}
	checkLength(s, f, f.Name.Name, report)
	if f.Recv == nil && f.Name.Name == "init" {
		report(ruleInit, f, "wiring is read in core/host and main, not in init")
	}
}

func checkLength(s *source, f ast.Node, name string, report reporter) {
	if n := s.fset.Position(f.End()).Line - s.fset.Position(f.Pos()).Line + 1; n > maxFunction {
		report(ruleLength, f, "%s has %d lines, the limit is %d", name, n, maxFunction)
	}
}

// checkNode holds the rules that one node can break.
func checkNode(s *source, n ast.Node, report reporter) {
	life := s.pkg == "core/internal/life"
	switch n := n.(type) {
	case *ast.GoStmt:
		if !life {
			report(ruleGo, n, "a goroutine is started by life.Group, or by env.Go in a plugin")
		}
	case *ast.SelectorExpr:
		checkSelector(s, n, life, report)
	case *ast.CallExpr:
		id, ok := n.Fun.(*ast.Ident)
		switch {
		case !ok:
		case id.Name == "recover" && !life:
			report(ruleRecover, n, "panics are caught in life.Call")
		case (id.Name == "print" || id.Name == "println") && !s.line.command:
			report(rulePrint, n, "%s is not a log", id.Name)
		}
	case *ast.TypeSpec:
		if face, ok := n.Type.(*ast.InterfaceType); ok && s.pkg != "core/sdk" {
			if m := methods(s, face, map[string]bool{}); m > maxInterface {
				report(ruleInterface, n, "%s has %d methods, the limit is %d", n.Name.Name, m, maxInterface)
			}
		}
	}
}

func checkSelector(s *source, n *ast.SelectorExpr, life bool, report reporter) {
	starts := s.is(n, "time", "AfterFunc") || s.is(n, "context", "AfterFunc") || n.Sel.Name == "Go" && s.groups[lastName(n.X)]
	if starts && !life {
		report(ruleGo, n, "%s starts a goroutine that nobody joins", n.Sel.Name)
	}
	exits := s.is(n, "os", "Exit") || s.is(n, "syscall", "Exit") ||
		s.is(n, "log", "Fatal", "Fatalf", "Fatalln") || s.is(n, "github.com/sirupsen/logrus", "Exit", "Fatal", "Fatalf", "Fatalln")
	if exits && !s.line.command && s.pkg != "core/sdk/serve" {
		report(ruleExit, n, "only a command and serve may end the process")
	}
	if s.is(n, "fmt", "Print", "Printf", "Println") && !s.line.command {
		report(rulePrint, n, "fmt.%s is not a log", n.Sel.Name)
	}
}

// lastName is x of x, a.x, (*x) and x[i].
func lastName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	case *ast.ParenExpr:
		return lastName(e.X)
	case *ast.StarExpr:
		return lastName(e.X)
	case *ast.UnaryExpr:
		return lastName(e.X)
	case *ast.IndexExpr:
		return lastName(e.X)
	}
	return ""
}

// methods counts an interface's methods, with those of interfaces of this package that it embeds; an embedded
// interface of another package counts as one.
func methods(s *source, face *ast.InterfaceType, seen map[string]bool) (count int) {
	for _, f := range face.Methods.List {
		id, embedded := f.Type.(*ast.Ident)
		switch {
		case len(f.Names) > 0:
			count += len(f.Names)
		case embedded && s.faces[id.Name] != nil && !seen[id.Name]:
			seen[id.Name] = true
			count += methods(s, s.faces[id.Name], seen)
		default:
			count++
		}
	}
	return count
}
