package xmlexam

import (
	"bytes"
	"fmt"

	"github.com/hostd/hostd/core/protocols/textenc"
	"github.com/hostd/hostd/core/sdk/exam"
)

// Limits of one file where Options sets none.
const (
	DefaultMaxSize  = 16 << 20
	DefaultMaxDepth = 64
	maxSize         = 1 << 30 // offsets are 32 bits wide
)

// Limits that bound the memory of a forged file, see Parse. No instrument comes near them.
const (
	maxValue  = 1 << 10  // bytes of one value; a longer one stays unread
	maxValues = 64 << 10 // bytes of all values, names and attributes that a decoder asks for
	manyNodes = 4096     // elements that any file may have
	nodeSize  = 28       // bytes of a node
)

// Options of a decoder; the zero Options are good defaults.
type Options struct {
	Codepage string // the site's code page, see textenc.XML; empty is textenc.DefaultCodepage
	MaxSize  int    // bytes of input, at most 1 GiB; 0 is DefaultMaxSize; larger input is one reject too_large
	MaxDepth int    // nesting of elements; 0 is DefaultMaxDepth; deeper input is one reject too_deep
	// HasFile says whether a file that the exam names is there; name is as sent, without the blanks around it. Nil means
	// that none is.
	HasFile func(name string) bool
}

// Doc is a well-formed XML text as a tree, without comments and processing instructions.
type Doc struct {
	text  textenc.Text
	src   []byte
	left  int    // of maxValues; negative when more was asked for
	nodes []node // in the order of their start tags; the first is not an element but holds the top-level ones
}

// node is an element: offsets into src, indexes into nodes.
type node struct {
	name, attrs uint32 // start of the local name; end of the start tag's attributes
	text, end   uint32 // of the content
	next, child int32  // next sibling and first child, 0 is none
	nameLen     uint16
	read        bool // somebody asked for the content
}

// fault is why a text is not a Doc.
type fault struct {
	reason, detail string
	at             int // in the decoded text
}

// Parse makes a Doc of a whole file, or the reject that says why not; the reject's extent is the whole file. It and the
// decoder of the Doc together allocate at most four times the file and 1 MiB.
func Parse(data []byte, opt Options) (*Doc, *exam.Reject) {
	limit := opt.MaxSize
	if limit <= 0 {
		limit = DefaultMaxSize
	}
	if len(data) > min(limit, maxSize) {
		return nil, reject(data, exam.RejectTooLarge, fmt.Sprintf("more than %d bytes", limit))
	}
	if len(bytes.Trim(data, "\x00 \t\r\n\xff\xfe\xef\xbb\xbf")) == 0 {
		return nil, reject(data, exam.RejectEmpty, "nothing but blanks")
	}
	text, err := textenc.XML(data, opt.Codepage)
	if err != nil {
		return nil, reject(data, exam.RejectMalformedXML, err.Error())
	}
	p := parser{src: text.UTF8, maxDepth: opt.MaxDepth, maxNodes: elementsFor(len(data), cap(text.UTF8))}
	if p.maxDepth <= 0 {
		p.maxDepth = DefaultMaxDepth
	}
	if f := p.run(); f != nil {
		return nil, reject(data, f.reason, fmt.Sprintf("%s at byte %d of the decoded text", f.detail, f.at))
	}
	return &Doc{text: text, src: text.UTF8, left: maxValues, nodes: p.nodes}, nil
}

func reject(data []byte, reason, detail string) *exam.Reject {
	return &exam.Reject{Reason: reason, Length: int64(len(data)), Detail: detail}
}

// open is an element whose end tag has not come.
type open struct {
	node, last int32  // itself, its last child
	name       []byte // with prefix
}

type parser struct {
	src      []byte
	at       int
	nodes    []node
	maxNodes int
	stack    []open
	maxDepth int
}

// elementsFor is how many elements a file of size bytes may have whose text takes up to text bytes: text and tree
// together stay below three times the file. Files of instruments have one element in 30 bytes.
func elementsFor(size, text int) int { return manyNodes + max(0, 3*size-text)/nodeSize }

func (p *parser) run() *fault {
	tags := bytes.Count(p.src, []byte("<")) - bytes.Count(p.src, []byte("</"))
	p.maxNodes = min(tags, p.maxNodes) + 1
	p.nodes = append(make([]node, 0, p.maxNodes), node{})
	p.stack = append(make([]open, 0, 16), open{})
	for p.at < len(p.src) {
		n := bytes.IndexByte(p.src[p.at:], '<')
		if n < 0 {
			n = len(p.src) - p.at
		}
		if f := p.characters(n); f != nil {
			return f
		}
		p.at += n
		if p.at == len(p.src) {
			break
		}
		if f := p.markup(); f != nil {
			return f
		}
	}
	if len(p.stack) > 1 {
		return p.malformed("text ends inside an element")
	}
	if p.nodes[0].child == 0 {
		return p.malformed("no element")
	}
	return nil
}

func (p *parser) malformed(detail string) *fault {
	return &fault{exam.RejectMalformedXML, detail, p.at}
}

// characters checks the n bytes at p.at, which stand between two tags.
func (p *parser) characters(n int) *fault {
	text := p.src[p.at : p.at+n]
	if len(p.stack) == 1 && len(bytes.Trim(text, blanks)) > 0 {
		return p.malformed("text outside of the root element")
	}
	if !legal(text) || bytes.Contains(text, []byte("]]>")) {
		return p.malformed("character that XML does not allow")
	}
	if !entities(text) {
		return p.malformed("entity that XML does not know")
	}
	return nil
}

// markup reads what begins with the '<' at p.at.
func (p *parser) markup() *fault {
	rest := p.src[p.at:]
	switch {
	case bytes.HasPrefix(rest, []byte("</")):
		return p.endTag()
	case bytes.HasPrefix(rest, []byte("<?")):
		return p.instruction()
	case bytes.HasPrefix(rest, []byte("<!--")):
		return p.comment()
	case bytes.HasPrefix(rest, []byte("<![CDATA[")):
		return p.cdata()
	case bytes.HasPrefix(rest, []byte("<!DOCTYPE")):
		return p.doctype()
	}
	return p.startTag()
}

func (p *parser) startTag() *fault {
	from := p.at + 1
	name := nameAt(p.src[from:])
	if name == nil {
		return p.malformed("tag without name")
	}
	if len(p.nodes) == p.maxNodes {
		return &fault{exam.RejectTooLarge, "too many elements", p.at}
	}
	if len(p.stack) > p.maxDepth {
		return &fault{exam.RejectTooDeep, fmt.Sprintf("more than %d elements inside each other", p.maxDepth), p.at}
	}
	to, ok := attributes(p.src, from+len(name), nil)
	if !ok {
		return p.malformed("start tag that does not end, or with a broken attribute")
	}
	prefix := bytes.IndexByte(name, ':') + 1
	if prefix == 1 || prefix == len(name) {
		prefix = 0
	}
	if len(name) > 1<<15 {
		return p.malformed("name of more than 32 KiB")
	}
	n := node{name: uint32(from + prefix), nameLen: uint16(len(name) - prefix), attrs: uint32(to)}
	if p.src[to] == '/' {
		p.at = to + 2
		n.text, n.end = uint32(to), uint32(to)
		p.add(n)
		return nil
	}
	p.at = to + 1
	n.text = uint32(p.at)
	p.stack = append(p.stack, open{node: p.add(n), name: name})
	return nil
}

// add appends n to the tree as the last child of the innermost open element.
func (p *parser) add(n node) int32 {
	i := int32(len(p.nodes))
	p.nodes = append(p.nodes, n)
	parent := &p.stack[len(p.stack)-1]
	if parent.last == 0 {
		p.nodes[parent.node].child = i
	} else {
		p.nodes[parent.last].next = i
	}
	parent.last = i
	return i
}

func (p *parser) endTag() *fault {
	top := p.stack[len(p.stack)-1]
	rest := p.src[p.at+2:]
	if len(p.stack) == 1 || !bytes.HasPrefix(rest, top.name) {
		return p.malformed("end tag of another element")
	}
	n := skipBlanks(rest, len(top.name))
	if n == len(rest) || rest[n] != '>' {
		return p.malformed("end tag with something in it")
	}
	p.nodes[top.node].end = uint32(p.at)
	p.stack = p.stack[:len(p.stack)-1]
	p.at += 2 + n + 1
	return nil
}

func (p *parser) instruction() *fault {
	target := nameAt(p.src[p.at+2:])
	n := bytes.Index(p.src[p.at:], []byte("?>"))
	if target == nil || n < 2+len(target) {
		return p.malformed("processing instruction that does not end")
	}
	p.at += n + 2
	return nil
}

func (p *parser) comment() *fault {
	const head = len("<!--")
	body := p.src[p.at+head:]
	n := bytes.Index(body, []byte("--"))
	if n < 0 || !bytes.HasPrefix(body[n:], []byte("-->")) {
		return p.malformed("comment that does not end")
	}
	p.at += head + n + 3
	return nil
}

func (p *parser) cdata() *fault {
	const head = len("<![CDATA[")
	body := p.src[p.at+head:]
	n := bytes.Index(body, []byte("]]>"))
	if n < 0 || len(p.stack) == 1 || !legal(body[:n]) {
		return p.malformed("character data that do not end, or outside of the root element")
	}
	p.at += head + n + 3
	return nil
}

// doctype passes a document type that only names one; with entities of its own it could grow without end.
func (p *parser) doctype() *fault {
	n := bytes.IndexByte(p.src[p.at:], '>')
	if n < 0 || len(p.nodes) > 1 || bytes.ContainsAny(p.src[p.at:p.at+n], "['\"<") && !plainDoctype(p.src[p.at+1:p.at+n]) {
		return p.malformed("document type with more than a name")
	}
	p.at += n + 1
	return nil
}
