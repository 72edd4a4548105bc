import { total } from "./total";

document.addEventListener("click", () => {
  console.log(total([{ count: 1 }]));
});
