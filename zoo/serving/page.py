"""The page to drop a picture on; it loads nothing from elsewhere."""

PAGE = """<!doctype html><html lang=en><meta charset=utf-8><title>MODEL</title>
<meta name=viewport content="width=device-width"><style>
:root{color-scheme:light dark}
body{font:16px/1.5 sans-serif;max-width:36em;margin:2em auto;padding:0 1em}
label{display:block;border:2px dashed #888;border-radius:8px;padding:2.5em 1em;text-align:center;
cursor:pointer}
label.over,label:focus-within{border-color:#3a7bd5}
img{max-width:100%;max-height:14em;display:block;margin:1em auto}
td{padding:.1em .8em .1em 0}.error{color:#c33}</style>
<h1>MODEL</h1>
<label>Drop a picture here, or choose one<br><input type=file accept="image/*"></label>
<img hidden alt="the picture"><p role=status></p><table></table>
<script>
const label = document.querySelector("label"), image = document.querySelector("img");
const status = document.querySelector("p"), table = document.querySelector("table");
async function ask(file) {
  image.src = URL.createObjectURL(file); image.hidden = false;
  table.textContent = ""; status.className = ""; status.textContent = "asking";
  try {
    const reply = await fetch("predict", {method: "POST", body: file});
    const answer = await reply.json();
    if (answer.error) throw Error(answer.error);
    status.textContent = answer.name;
    for (const one of answer.top) {
      const row = table.insertRow();
      row.insertCell().textContent = one.name;
      row.insertCell().textContent = (100 * one.probability).toFixed(1) + " %";
    }
  } catch (error) { status.className = "error"; status.textContent = error.message; }
}
label.querySelector("input").onchange = event => ask(event.target.files[0]);
label.ondragover = event => { event.preventDefault(); label.className = "over"; };
label.ondragleave = () => label.className = "";
label.ondrop = event => {
  event.preventDefault(); label.className = "";
  if (event.dataTransfer.files.length) ask(event.dataTransfer.files[0]);
};
</script></html>
"""
