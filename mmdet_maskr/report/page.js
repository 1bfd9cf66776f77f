"use strict";
// The page is whole without this: it enlarges pictures, sorts tables and copies commands.
(() => {
  const viewer = document.getElementById("viewer");
  const large = viewer.querySelector("img");
  for (const button of document.querySelectorAll(".zoom")) {
    button.addEventListener("click", () => {
      const image = button.querySelector("img");
      Object.assign(large, { src: image.src, alt: image.alt });
      large.classList.remove("full");
      viewer.querySelector("p").textContent = image.alt;
      viewer.showModal();
    });
  }
  large.addEventListener("click", () => large.classList.toggle("full"));
  viewer.addEventListener("click", (event) => event.target === viewer && viewer.close());

  const valueOf = (row, column) => row.cells[column].textContent.trim();
  const compare = (a, b) => {
    const [x, y] = [parseFloat(a), parseFloat(b)];
    if (Number.isNaN(x) && Number.isNaN(y)) return a.localeCompare(b);
    return (Number.isNaN(x) ? -Infinity : x) - (Number.isNaN(y) ? -Infinity : y);
  };
  for (const table of document.querySelectorAll(".sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const down = column > 0 === (head.getAttribute("aria-sort") !== "descending");
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = [...table.tBodies[0].rows];
        rows.sort((a, b) => {
          const first = b.classList.contains("all") - a.classList.contains("all");
          const order = compare(valueOf(a, column), valueOf(b, column));
          return first || (down ? -order : order);
        });
        table.tBodies[0].append(...rows);
      });
    });
  }

  for (const button of document.querySelectorAll(".copy")) {
    button.addEventListener("click", async () => {
      const text = button.parentElement.querySelector("code").textContent;
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(button.parentElement.querySelector("code"));
        button.textContent = "Selected";
      }
    });
  }
})();
